package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tablePrefix marks the tables of the family netdev that are guards.
const tablePrefix = "dirigo_"

// batchBuffer holds a whole batch in the netlink socket, in bytes: the kernel takes a
// batch from one send only. Ten thousand services take about one megabyte.
const batchBuffer = 64 << 20

// Guard keeps the host's own stack off balanced frames: an nftables table of the family
// netdev, with an ingress chain for each guarded interface. AF_PACKET sees a frame
// before that hook, so the director still gets what the guard drops
// (__netif_receive_skb_core: taps, then nf_ingress).
//
// It drops, and counts: frames to a VIP that is no address of the host, and to the
// services of one that is; frames a mark rule leads to a fwmark service; answers of NAT
// and FULLNAT real servers, unless they are for the host itself; later fragments and
// ICMP errors that belong to the last two. ARP and NDP are left alone.
//
// All look-ups are in sets, so a frame's cost does not grow with the services. Its
// methods may be called from several goroutines; they act in the network namespace of
// the calling thread.
type Guard struct {
	table *nftables.Table

	mu        sync.Mutex
	ports     []string // asked for
	on        []port   // existing at the last install
	rules     Rules    // as last given, without its services: those are in want
	want      *tally   // what the sets should hold
	installed content  // what the kernel holds; nil: no table
	conn      *nftables.Conn
	noFib     bool // the kernel has no nft_fib_netdev: the host's addresses are kept in sets
}

type port struct {
	name  string
	index int
}

// ErrGone says that the guard's table is not there (any more): someone flushed the
// ruleset, as reloading a firewall does. Install puts it back.
var ErrGone = errors.New("the guard's nftables table is gone")

// NewGuard names a guard; nothing is changed before Install. Two directors on one host
// need different names.
func NewGuard(name string) *Guard {
	return &Guard{table: &nftables.Table{Name: tableName(name), Family: nftables.TableFamilyNetdev}}
}

// tableName keeps to what nft can print and read back as an identifier.
func tableName(name string) string {
	return tablePrefix + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, name)
}

// Install puts the guard on the named interfaces, in one transaction that also takes
// away whatever table of this name there was: there is no instant with half a guard.
// Interfaces that do not exist are left out (see Guarded) until Update finds them.
func (g *Guard) Install(ports []string, rules Rules) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ports = slices.Clone(ports)
	g.take(rules, existing(g.ports))
	return g.install()
}

// take counts new rules from scratch.
func (g *Guard) take(rules Rules, on []port) {
	g.on = on
	g.want = newTally(rules.Marks, names(on))
	for _, p := range rules.pieces() {
		g.want.count(&p, 1)
	}
	rules.Services = nil
	g.rules = rules
}

func (g *Guard) install() (err error) {
	// An interface may go between the look and the transaction, and nft_fib_netdev may be
	// missing: both are ENOENT, and worth another try.
	for range 3 {
		if on := existing(g.ports); !slices.Equal(on, g.on) {
			g.on = on
			g.want.paint(g.rules.Marks, names(on))
		}
		if err = g.replace(); err == nil {
			return nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			break
		}
		if slices.Equal(g.on, existing(g.ports)) {
			g.noFib = true
		}
	}
	g.installed = nil
	return fmt.Errorf("install guard %s: %w", g.table.Name, err)
}

// replace writes the whole table in one transaction.
func (g *Guard) replace() error {
	want, err := g.compile()
	if err != nil {
		return err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	old, _ := g.counts() // they go on where the same Guard writes its table anew
	if g.installed == nil {
		old = nil // an earlier director's
	}
	dropTable(c, g.table)
	c.AddTable(g.table)
	for _, name := range counters {
		c.AddObj(&nftables.CounterObj{Table: g.table, Name: name, Packets: old[name].Frames, Bytes: old[name].Bytes})
	}
	ports := names(g.on)
	classes := g.want.classes
	for _, id := range setsOf(classes) {
		set := id.set(g.table)
		if err := c.AddSet(set, nil); err != nil {
			return fmt.Errorf("set %v: %w", id, err)
		}
		if err := change(c.SetAddElements, set, id, without(want[id], nil)); err != nil {
			return err
		}
	}
	g.ruleset(c, ports, classes)
	if err := c.Flush(); err != nil {
		return err
	}
	g.installed = want
	g.want.settle()
	return nil
}

// Update brings the sets to new rules, in one transaction that holds only what differs.
// It also looks again at the interfaces and at the host's addresses, so it is what to
// call after a change of either. Where that needs other chains, and where the table is
// gone, the whole is installed anew.
func (g *Guard) Update(rules Rules) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	on := existing(g.ports)
	same := g.installed != nil && g.present() && rules.LocalPorts == g.rules.LocalPorts &&
		slices.Equal(g.on, on) && slices.Equal(classes(rules.Marks, names(on)), g.want.classes)
	g.take(rules, on)
	if !same {
		return g.install()
	}
	err := g.patch()
	if errors.Is(err, unix.ENOENT) { // gone meanwhile
		return g.install()
	}
	if err != nil {
		return fmt.Errorf("update guard %s: %w", g.table.Name, err)
	}
	return nil
}

// patch sends the difference between what the sets hold and what they should.
func (g *Guard) patch() error {
	want, err := g.compile()
	if err != nil {
		return err
	}
	gone, added := elements{}, elements{}
	for _, id := range setsOf(g.want.classes) {
		gone[id], added[id] = without(g.installed[id], want[id]), without(want[id], g.installed[id])
	}
	if err := g.send(gone, added); err != nil {
		return err
	}
	g.installed = want
	g.want.settle()
	return nil
}

// compile is the wanted content with the host's addresses where the kernel cannot tell them.
func (g *Guard) compile() (content, error) {
	want := g.want.content()
	if !g.noFib {
		return want, nil
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok {
			b, v6 := addrBox(p.Addr()), p.Addr().Is6()
			want.put(setID{name: "local", v6: v6}, b.key(v6, srcAddr))
		}
	}
	return want, nil
}

// Remove takes the guard away. It is not an error when it is not there.
func (g *Guard) Remove() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.installed = nil
	g.hangUp()
	return removeTable(g.table)
}

// Guarded lists the interfaces the guard was last put on; those asked for and missing
// here did not exist.
func (g *Guard) Guarded() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return names(g.on)
}

// Clear removes the guard of the director of that name, alive or not. It is not an
// error when nothing is there.
func Clear(name string) error { return removeTable(NewGuard(name).table) }

// Left lists the tables that guards have in this network namespace: those of the
// director of that name, or all guards' when name is "".
func Left(name string) ([]string, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	var left []string
	for _, t := range tables {
		if t.Name == tableName(name) || name == "" && strings.HasPrefix(t.Name, tablePrefix) {
			left = append(left, t.Name)
		}
	}
	return left, nil
}

func removeTable(t *nftables.Table) error {
	c, err := dial()
	if err != nil {
		return err
	}
	dropTable(c, t)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove guard %s: %w", t.Name, err)
	}
	return nil
}

// dropTable deletes a table that may not exist: added first, it does.
func dropTable(c *nftables.Conn, t *nftables.Table) {
	c.AddTable(t)
	c.DelTable(t)
}

// change adds or deletes elements by messages of bounded size.
func change(f func(*nftables.Set, []nftables.SetElement) error, set *nftables.Set, id setID, keys []string) error {
	for _, chunk := range id.elements(keys) {
		if err := f(set, chunk); err != nil {
			return fmt.Errorf("set %v: %w", id, err)
		}
	}
	return nil
}

// without lists what a has and b has not.
func without(a, b map[string]struct{}) (out []string) {
	for k := range a {
		if _, ok := b[k]; !ok {
			out = append(out, k)
		}
	}
	return out
}

// dial returns a connection whose socket, opened at each flush, holds a whole batch.
func dial(more ...nftables.ConnOption) (*nftables.Conn, error) {
	c, err := nftables.New(append(more, nftables.WithSockOptions(func(c *mdnetlink.Conn) error {
		// Errors quote the message they are about, up to 64 KiB each.
		return errors.Join(c.SetWriteBuffer(batchBuffer), c.SetReadBuffer(batchBuffer))
	}))...)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return c, nil
}

// present reports whether the table is in the kernel.
func (g *Guard) present() bool {
	_, err := g.counts()
	return err == nil
}

// existing keeps the ports that exist now.
func existing(ports []string) (on []port) {
	for _, name := range ports {
		if l, err := netlink.LinkByName(name); err == nil {
			on = append(on, port{name, l.Attrs().Index})
		}
	}
	return on
}

func names(ports []port) (out []string) {
	for _, p := range ports {
		out = append(out, p.name)
	}
	return out
}
