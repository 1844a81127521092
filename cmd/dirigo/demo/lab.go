package demo

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// lab is a method's network, its processes and its files. It belongs to one goroutine
// that is locked to its thread, since a thread is what is in a namespace.
type lab struct {
	prefix   string // of the namespaces' names
	dir      string // temporary files
	home     netns.NsHandle
	spaces   []*space
	macs     map[packet.MAC]string // whose interface it is
	children []*child
	died     chan *child // whoever has ended, for who waits for something else
}

// maxChildren is more than a lab ever has.
const maxChildren = 16

// space is a namespace.
type space struct {
	name string // without prefix
	ns   netns.NsHandle
	nl   *netlink.Handle
}

// switchName is the namespace of the bridges.
const switchName = "switch"

// newLab prepares an empty lab, whose names have the process's id in them.
func newLab() (*lab, error) {
	home, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	dir, err := os.MkdirTemp("", "dirigo-demo-")
	if err != nil {
		return nil, errors.Join(err, home.Close())
	}
	return &lab{prefix: fmt.Sprintf("dirigo-demo-%d-", os.Getpid()), dir: dir, home: home,
		macs: map[packet.MAC]string{}, died: make(chan *child, maxChildren)}, nil
}

// build makes the network of m.
func (l *lab) build(m *method) error {
	sw, err := l.add(switchName)
	if err != nil {
		return err
	}
	for _, name := range []network{outside, inside} {
		if err := sw.nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: string(name)}}); err != nil {
			return fmt.Errorf("bridge %s: %w", name, err)
		}
		if err := sw.up(string(name)); err != nil {
			return err
		}
	}
	for _, n := range m.nodes {
		s, err := l.add(n.name)
		if err != nil {
			return err
		}
		if err := l.settings(s, n.forward); err != nil {
			return err
		}
		for i, at := range n.sockets {
			if err := l.plug(s, fmt.Sprintf("eth%d", i), sw, at); err != nil {
				return fmt.Errorf("%s eth%d: %w", n.name, i, err)
			}
		}
		if n.gateway != "" {
			if err := s.nl.RouteAdd(&netlink.Route{Gw: net.ParseIP(n.gateway)}); err != nil {
				return fmt.Errorf("%s: default route by %s: %w", n.name, n.gateway, err)
			}
		}
	}
	return l.awaitUp()
}

// add makes a namespace with loopback up.
func (l *lab) add(name string) (*space, error) {
	ns, err := netns.NewNamed(l.prefix + name)
	if back := netns.Set(l.home); back != nil {
		return nil, fmt.Errorf("return from namespace %s: %w", name, back)
	}
	s := &space{name: name, ns: ns}
	if err != nil {
		if !errors.Is(err, os.ErrExist) { // a file without a namespace may have been made
			err = errors.Join(err, ignoreMissing(netns.DeleteNamed(l.prefix+name)))
		}
		return nil, fmt.Errorf("namespace %s%s: %w", l.prefix, name, err)
	}
	l.spaces = append(l.spaces, s)
	if s.nl, err = netlink.NewHandleAt(ns); err != nil {
		return nil, fmt.Errorf("netlink in %s: %w", name, err)
	}
	return s, s.up("lo")
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EINVAL) { // EINVAL: nothing is mounted there
		return nil
	}
	return err
}

func (s *space) up(dev string) error {
	link, err := s.nl.LinkByName(dev)
	if err == nil {
		err = s.nl.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("%s: set %s up: %w", s.name, dev, err)
	}
	return nil
}

// settings gives a node what it needs whatever the host's own settings are, which new
// namespaces inherit. IPv6 would only add noise.
func (l *lab) settings(s *space, forward bool) error {
	values := map[string]string{
		"ipv4/ip_forward":                "0",
		"ipv4/conf/all/rp_filter":        "0",
		"ipv4/conf/default/rp_filter":    "0",
		"ipv4/conf/all/arp_ignore":       "0",
		"ipv4/conf/all/arp_announce":     "0",
		"ipv6/conf/all/disable_ipv6":     "1",
		"ipv6/conf/default/disable_ipv6": "1",
	}
	if forward {
		values["ipv4/ip_forward"] = "1"
	}
	return l.in(s, func() error {
		for key, v := range values {
			err := os.WriteFile("/proc/sys/net/"+key, []byte(v), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return nil
	})
}

// plug lays a cable from dev in s to a bridge. Both ends are made where they stay:
// nothing ever appears in the host's own namespace.
func (l *lab) plug(s *space, dev string, sw *space, at socket) error {
	bridge, err := sw.nl.LinkByName(string(at.net))
	if err != nil {
		return err
	}
	far := s.name + "-" + dev
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: dev})
	veth.PeerName, veth.PeerNamespace = far, netlink.NsFd(sw.ns)
	if err := s.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth: %w", err)
	}
	peer, err := sw.nl.LinkByName(far)
	if err != nil {
		return err
	}
	link, err := s.nl.LinkByName(dev)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(at.addr)
	if err != nil {
		return err
	}
	l.macs[packet.MAC(link.Attrs().HardwareAddr)] = s.name
	return errors.Join(sw.nl.LinkSetMaster(peer, bridge), sw.nl.LinkSetUp(peer), s.nl.AddrAdd(link, addr), s.nl.LinkSetUp(link))
}

// awaitUp waits until every interface may send: the kernel gives it a queue a moment
// after its carrier came (linkwatch), and drops what is sent before.
func (l *lab) awaitUp() error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		down := ""
		for _, s := range l.spaces {
			links, err := s.nl.LinkList()
			if err != nil {
				return err
			}
			for _, link := range links {
				a := link.Attrs()
				// A bridge without a node stays down: not every method uses both.
				if a.OperState != netlink.OperUp && link.Type() == "veth" {
					down = s.name + " " + a.Name
				}
			}
		}
		if down == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not come up", down)
		}
	}
}

// in runs f in a namespace and comes back.
func (l *lab) in(s *space, f func() error) error {
	if err := netns.Set(s.ns); err != nil {
		return fmt.Errorf("enter namespace %s: %w", s.name, err)
	}
	err := f()
	if back := netns.Set(l.home); back != nil {
		err = errors.Join(err, fmt.Errorf("return from namespace %s: %w", s.name, back))
	}
	return err
}

func (l *lab) space(name string) *space {
	return l.spaces[slices.IndexFunc(l.spaces, func(s *space) bool { return s.name == name })]
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// close ends the processes and removes namespaces, with all in them, and files.
func (l *lab) close() (err error) {
	for _, c := range slices.Backward(l.children) {
		c.terminate()
	}
	for _, c := range slices.Backward(l.children) {
		c.await()
	}
	for _, s := range slices.Backward(l.spaces) {
		if s.nl != nil {
			s.nl.Close()
		}
		err = errors.Join(err, s.ns.Close())
		if e := netns.DeleteNamed(l.prefix + s.name); e != nil {
			err = errors.Join(err, fmt.Errorf("remove namespace %s%s: %w", l.prefix, s.name, e))
		}
	}
	return errors.Join(err, os.RemoveAll(l.dir), l.home.Close())
}
