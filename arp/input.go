package arp

import (
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

// message is what an ARP packet, a neighbour solicitation and an advertisement have
// in common. Each asserts a binding of addr to mac, except a probe or a solicitation
// without link-layer address, where mac is zero; a query also asks for target.
type message struct {
	query  bool
	target packet.Addr // of a query
	addr   packet.Addr // whose binding is asserted; unspecified in an address probe
	mac    packet.MAC
	asker  packet.MAC // where a query's answer goes
	// solicited: an answer to this port and its own address, so perhaps to a query of ours.
	solicited bool
	// override: the binding may replace a known one (always with ARP; RFC 4861 section 4.4).
	override bool
}

// Input takes a frame received on a port and returns what became of it, the most
// noteworthy if it was more than one thing (each is counted), and the frames to send:
// an answer, a probe, or frames that waited for what it says. Frames that are neither
// ARP nor a neighbour solicitation or advertisement are NotNeighbour and for others to
// judge. The caller keeps frame, which may be padded.
func (c *Cache) Input(now time.Duration, port int, frame []byte) (Reason, []Out) {
	c.mu.Lock()
	defer c.unlock()
	reason, outs := c.input(now, port, frame)
	c.counters[reason]++
	return reason, outs
}

func (c *Cache) input(now time.Duration, i int, frame []byte) (Reason, []Out) {
	p := c.port(i)
	if p == nil {
		return NoPort, nil
	}
	m, bad := p.parse(frame)
	if bad != noReason {
		return bad, nil
	}
	if c.isOurs(m.asker) || c.isOurs(m.mac) {
		return Own, nil
	}
	if p.answersFor(m.addr) {
		return Conflict, nil
	}
	if !m.query {
		return c.learn(now, i, &m)
	}

	reason, outs := NotOurs, []Out(nil)
	if p.answersFor(m.target) {
		reason = Answered
		if isUnspecified(m.addr) {
			reason = ProbeAnswered
		}
		outs = append(outs, Out{Port: i, Frame: answer(p.mac, &m, c.cfg.Router)})
	}
	if m.mac == (packet.MAC{}) || isUnspecified(m.addr) {
		return reason, outs
	}
	// The asker's own binding is no more trusted for being beside a question.
	sender, more := c.learn(now, i, &m)
	outs = append(outs, more...)
	if sender > Updated {
		return reason, outs
	}
	c.counters[reason]++
	return sender, outs
}

func (c *Cache) isOurs(mac packet.MAC) bool {
	for i := range c.ports {
		if c.ports[i].mac == mac && mac != (packet.MAC{}) {
			return true
		}
	}
	return false
}

// learn applies the binding m asserts.
func (c *Cache) learn(now time.Duration, i int, m *message) (Reason, []Out) {
	r, e := c.table.find(key{m.addr, int32(i)})
	if e == nil {
		return UnsolicitedIgnored, nil
	}
	mac := m.mac
	if mac == (packet.MAC{}) && e.state == Probe {
		mac = e.mac // RFC 4861 section 4.4: an answer to a unicast probe may leave it out
	}
	switch {
	case mac == (packet.MAC{}):
		return UnsolicitedIgnored, nil
	case e.state == Permanent && mac == e.mac:
		return Unchanged, nil
	case e.state == Permanent:
		return StaticRefused, nil
	case m.solicited && e.state == Incomplete:
		c.confirm(r, mac, now)
		return Learned, c.release(r, nil)
	case m.solicited && e.state == Probe && mac == e.mac:
		if e.questioned {
			c.counters[SpoofRejected]++
		}
		c.confirm(r, mac, now)
		return Confirmed, nil
	case !e.state.hasMAC():
		return Updated, c.adopt(r, mac, now)
	case mac == e.mac:
		return Unchanged, nil
	case !m.override: // RFC 4861 section 7.2.5: casts doubt, replaces nothing
		if e.state == Reachable && !e.questioned {
			c.stale(r, now)
		}
		return UnsolicitedIgnored, nil
	case !e.proven:
		return Updated, c.adopt(r, mac, now)
	}
	return SpoofSuspected, c.question(r, mac, now)
}

// confirm makes r REACHABLE at mac, which answered us.
func (c *Cache) confirm(r ref, mac packet.MAC, now time.Duration) {
	e := &c.table.slab[r]
	c.changed = c.changed || !e.state.hasMAC() || e.mac != mac
	e.state, e.mac, e.proven, e.questioned, e.confirmed = Reachable, mac, true, false, now
	c.table.enlist(r, resolved)
	c.deadline(r, now+c.cfg.Reachable)
}

// adopt gives r a MAC that was only announced, STALE so that its use leads to a probe.
func (c *Cache) adopt(r ref, mac packet.MAC, now time.Duration) []Out {
	e := &c.table.slab[r]
	wanted := e.state == Incomplete
	e.mac, e.proven, e.questioned = mac, false, false
	c.changed = true
	c.table.enlist(r, resolved)
	c.stale(r, now)
	if wanted {
		c.use(r, now)
	}
	return c.release(r, nil)
}

// question remembers that mac was announced against r's proven one, and asks that one,
// no more than once in LockTime. A candidate already there stays: a second announcer
// must not put the decision off.
func (c *Cache) question(r ref, mac packet.MAC, now time.Duration) []Out {
	e := &c.table.slab[r]
	if e.questioned {
		return nil
	}
	e.questioned, e.candidate = true, mac
	switch free := e.confirmed + LockTime; {
	case e.state == Probe: // is being asked already; its silence now has another meaning
		return nil
	case e.state == Reachable && now < free:
		c.deadline(r, free)
		return nil
	}
	return c.probe(r, now, nil)
}
