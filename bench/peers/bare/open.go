package bare

import (
	"errors"
	"fmt"
	"net"

	"github.com/dirigo-lb/dirigo/bench/peers/bare/xdp"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/afpacket"
	"github.com/dirigo-lb/dirigo/packet"
)

// XDP is the mode that the director does not have.
const XDP = "xdp"

// A queue is what the forwarder uses of a dataplane.Queue.
type queue interface {
	Receive(frames []packet.Frame) (int, error)
	Transmit(frames []*packet.Frame) (int, error)
	Release()
	FD() int
}

// A port is an open queue and its interface's address.
type port struct {
	queue
	mac packet.MAC
}

// open opens the clients' and the server's interface in a mode: XDP, or one of afpacket's
// by its name. shut closes them.
func open(mode string, c Config) (ports [2]port, shut func() error, err error) {
	switch mode {
	case XDP:
		return openXDP(c)
	case afpacket.Ring.String():
		return openPacket(afpacket.Ring, c)
	case afpacket.Batch.String():
		return openPacket(afpacket.Batch, c)
	case afpacket.Blocks.String():
		return openPacket(afpacket.Blocks, c)
	}
	return ports, nil, fmt.Errorf("mode %q: want %v, %v, %v or %s", mode, afpacket.Ring, afpacket.Batch, afpacket.Blocks, XDP)
}

func openPacket(mode afpacket.Mode, c Config) (ports [2]port, shut func() error, err error) {
	var opened []dataplane.Queue
	shut = func() (err error) {
		for _, q := range opened {
			err = errors.Join(err, q.Close())
		}
		return err
	}
	for i, name := range []string{c.Outside, c.Inside} {
		d, err := afpacket.New(afpacket.Config{Interface: name, Mode: mode})
		if err != nil {
			return ports, nil, errors.Join(err, shut())
		}
		qs, err := d.Open(1)
		if err != nil {
			return ports, nil, errors.Join(err, shut())
		}
		opened = append(opened, qs[0])
		ports[i] = port{qs[0], d.Link().MAC}
	}
	return ports, shut, nil
}

func openXDP(c Config) (ports [2]port, shut func() error, err error) {
	takes := [2]xdp.Take{{At: toAt, Addr: c.VIP.As4()}, {At: fromAt, Addr: c.Server.As4()}}
	for i, name := range []string{c.Outside, c.Inside} {
		if takes[i].Interface, err = net.InterfaceByName(name); err != nil {
			return ports, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	pair, err := xdp.Open(takes)
	if err != nil {
		return ports, nil, err
	}
	for i := range ports {
		ports[i] = port{&pair.Queues[i], packet.MAC(takes[i].Interface.HardwareAddr)}
	}
	return ports, pair.Close, nil
}
