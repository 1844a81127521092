package host

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// send deletes and adds elements in one transaction. Its socket stays open: closing one
// waits until the kernel has freed what was deleted, which takes milliseconds
// (nft_rcv_nl_event).
func (g *Guard) send(gone, added elements) (err error) {
	if g.conn == nil {
		if g.conn, err = dial(nftables.AsLasting()); err != nil {
			return err
		}
	}
	c := g.conn
	defer func() {
		if err != nil { // there may be answers left in it
			g.hangUp()
		}
	}()
	for _, id := range setsOf(g.want.classes) {
		set := id.set(g.table)
		if err := errors.Join(change(c.SetDeleteElements, set, id, gone[id]), change(c.SetAddElements, set, id, added[id])); err != nil {
			return err
		}
	}
	return c.Flush()
}

func (g *Guard) hangUp() {
	if g.conn != nil {
		_ = g.conn.CloseLasting() // nothing is lost with it
		g.conn = nil
	}
}

// Change adds services and servers to the rules and takes others away; both count, as
// several services may want the same frames kept. It costs what it changes, in one
// transaction, or none where nothing does. After an error the rules are as before.
func (g *Guard) Change(add, drop []Piece) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.want == nil {
		return fmt.Errorf("change guard %s: not installed", g.table.Name)
	}
	g.countAll(add, drop)
	err := g.follow()
	if errors.Is(err, unix.ENOENT) { // gone meanwhile
		err = g.install()
	}
	if err != nil {
		g.countAll(drop, add)
		return fmt.Errorf("change guard %s: %w", g.table.Name, err)
	}
	return nil
}

func (g *Guard) countAll(add, drop []Piece) {
	for i := range add {
		g.want.count(&add[i], 1)
	}
	for i := range drop {
		g.want.count(&drop[i], -1)
	}
}

// follow makes the sets follow what was counted.
func (g *Guard) follow() error {
	if g.installed == nil {
		return g.install()
	}
	gone, added := g.want.difference(g.installed)
	if len(gone) > 0 || len(added) > 0 {
		if err := g.send(gone, added); err != nil {
			g.installed.apply(added, gone)
			return err
		}
	}
	g.want.settle()
	return nil
}
