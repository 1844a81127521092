package dataplane_test

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A watcher sees a frame as it came, what became of it, and what left by which port.
func TestWatcherSeesBeforeAndAfter(t *testing.T) {
	g := newRig(t, 1)
	k := g.serve(packet.TCP, 80, "rr", server(rs1, 8080, conf.NAT))
	frame := tcp(client, 40000, packet.SYN).Frame()
	told := 0
	stop := g.plane.Watch(&dataplane.Watcher{Bytes: 40, Told: func(e *dataplane.Event) {
		told++
		if !bytes.Equal(e.Received, frame[:40]) {
			t.Errorf("received % x, want the first 40 bytes of % x", e.Received, frame)
		}
		if e.Was.Flow.DstPort != 80 || e.Was.TCPFlags != packet.SYN || e.Was.IPLen() != 40 {
			t.Errorf("it was %+v", e.Was.Flow)
		}
		if e.Verdict != dataplane.Send || e.Reason != dataplane.ForwardNAT || e.Trace.Scheduler != "rr" || e.Trace.Of().Key != k {
			t.Errorf("%v %v, %+v", e.Verdict, e.Reason, e.Trace)
		}
		if e.Trace.Conn == nil || e.Trace.Conn.Dest != netip.AddrPortFrom(rs1.Netip(), 8080) {
			t.Errorf("connection %+v", e.Trace.Conn)
		}
		if e.Hop != rs1 || len(e.Sent) != 1 || e.Sent[0].Port != 1 {
			t.Fatalf("next hop %v, sent %+v", e.Hop, e.Sent)
		}
		out := *e.Sent[0].Frame
		if out.Parse() != packet.None || out.Flow.Dst != rs1 || out.Flow.DstPort != 8080 || out.DstMAC() != hostMAC(1, rs1) {
			t.Errorf("it left as %+v", out.Flow)
		}
	}})
	if s := g.rx(0, 0, bytes.Clone(frame), packet.Vnet{}); len(s) != 1 || told != 1 {
		t.Fatalf("%d frames sent, told %d times", len(s), told)
	}
	stop()
	g.rx(0, 0, tcp(client, 40001, packet.SYN).Frame(), packet.Vnet{})
	if told != 1 {
		t.Errorf("told %d times after stop", told)
	}
}

// The connection of a packet tells its service also when nobody had to choose; a DR
// packet's next hop is the server's although its destination is the VIP.
func TestWatcherKnowsServiceAndHopOfEstablished(t *testing.T) {
	g := newRig(t, 1)
	k := g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.DR))
	g.rx(0, 0, tcp(client, 40000, packet.SYN).Frame(), packet.Vnet{})
	told := false
	g.plane.Watch(&dataplane.Watcher{Told: func(e *dataplane.Event) {
		told = true
		if e.Trace.Service != nil || e.Trace.Of() == nil || e.Trace.Of().Key != k || e.Hop != rs1 || e.Trace.Scheduler != "" {
			t.Errorf("service %v, of %v, hop %v, chosen by %q", e.Trace.Service, e.Trace.Of(), e.Hop, e.Trace.Scheduler)
		}
	}})
	g.rx(0, 0, tcp(client, 40000, packet.ACK).Frame(), packet.Vnet{})
	if !told {
		t.Error("not told")
	}
}

// What nobody wants is not traced, whatever else is watched in the same batch.
func TestWatcherChoosesFrames(t *testing.T) {
	g := newRig(t, 1)
	g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
	var heard, all []uint16
	stopA := g.plane.Watch(&dataplane.Watcher{
		Wants: func(f *packet.Frame) bool { return f.Flow.SrcPort == 2 },
		Told:  func(e *dataplane.Event) { heard = append(heard, e.Was.Flow.SrcPort) },
	})
	defer g.plane.Watch(&dataplane.Watcher{Told: func(e *dataplane.Event) { all = append(all, e.Was.Flow.SrcPort) }})()
	for port := uint16(1); port <= 3; port++ {
		g.queues[0][0].Put(tcp(client, port, packet.SYN).Frame(), packet.Vnet{})
	}
	if _, _, err := g.workers[0].Turn(); err != nil {
		t.Fatal(err)
	}
	if len(heard) != 1 || heard[0] != 2 || len(all) != 3 {
		t.Errorf("heard of %v and %v", heard, all)
	}
	stopA()
	g.rx(0, 0, tcp(client, 2, packet.ACK).Frame(), packet.Vnet{})
	if len(heard) != 1 || len(all) != 4 {
		t.Errorf("after one stopped: heard of %v and %v", heard, all)
	}
}

// Watching costs no allocation of its own, so a trace brings no collection on a running
// director; the reader's copies are the reader's.
func TestWatchingDoesNotAllocate(t *testing.T) {
	g := newRig(t, 1)
	g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
	g.rx(0, 0, tcp(client, 40000, packet.SYN).Frame(), packet.Vnet{})
	bare, watched := 0.0, 0.0
	frame := tcp(client, 40000, packet.ACK).Frame()
	measure := func() float64 { return testing.AllocsPerRun(200, func() { g.rx(0, 0, frame, packet.Vnet{}) }) }
	bare = measure() // the rig's own
	var told atomic.Int64
	defer g.plane.Watch(&dataplane.Watcher{Bytes: 64, Told: func(*dataplane.Event) { told.Add(1) }})()
	if watched = measure(); watched > bare {
		t.Errorf("%v allocations a frame, %v without the second watcher", watched, bare)
	}
	if told.Load() == 0 {
		t.Error("nothing was told")
	}
}
