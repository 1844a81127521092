package host

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Count is what one of the guard's counters holds: frames, and their bytes from the IP
// header on.
type Count struct{ Frames, Bytes uint64 }

// Stats are the guard's drops, by reason, since the Guard's first Install. They start
// again from zero when someone else took the table away.
type Stats struct {
	VIP      Count // to a VIP or, on an address of the host, to a service
	Mark     Count // led to a fwmark service by a mark rule
	Reply    Count // answers of NAT and FULLNAT real servers
	Fragment Count // later fragments of the last two
	ICMP     Count // ICMP errors about marked packets and answers
}

// Stats reads the counters. The error is ErrGone when the table is not there.
func (g *Guard) Stats() (Stats, error) {
	c, err := g.counts()
	return Stats{VIP: c[countVIP], Mark: c[countMark], Reply: c[countReply], Fragment: c[countFragment], ICMP: c[countICMP]}, err
}

// counts reads the counters by name.
func (g *Guard) counts() (map[string]Count, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	objs, err := c.GetObjects(g.table)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("read counters of guard %s: %w", g.table.Name, err)
	}
	m := map[string]Count{}
	for _, o := range objs {
		if counter, ok := o.(*nftables.CounterObj); ok {
			m[counter.Name] = Count{counter.Packets, counter.Bytes}
		}
	}
	if len(m) == 0 {
		return nil, fmt.Errorf("guard %s: %w", g.table.Name, ErrGone)
	}
	return m, nil
}
