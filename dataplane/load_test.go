package dataplane_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/dataplane/pcap"
	"github.com/dirigo-lb/dirigo/packet"
)

// Each batch counts once by its size, and one in 64 by its time.
func TestLoadCountsBatches(t *testing.T) {
	g := newRig(t, 1)
	w, q := g.workers[0], g.queues[0][0]
	turn := func(frames int) {
		for i := range frames {
			q.Put(tcp(client, uint16(1000+i), packet.SYN).Frame(), packet.Vnet{})
		}
		g.now += time.Microsecond
		if n, _, err := w.Turn(); err != nil || n != frames {
			t.Fatalf("%d frames, %v", n, err)
		}
	}
	sizes := []int{1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64}
	for _, n := range sizes {
		turn(n)
		turn(0)
	}
	timed := func(batches int, want uint64) {
		w.HandOver()
		if n := g.plane.WorkerStatuses()[0].Timed(); n != want {
			t.Errorf("of %d batches %d were timed, want %d", batches, n, want)
		}
	}
	for range 64 - len(sizes) {
		turn(1)
	}
	timed(64, 1)
	turn(1)
	timed(65, 2)
	for range 11 {
		turn(1)
	}
	w.HandOver()
	got := g.plane.WorkerStatuses()
	want := [...]uint64{65, 1, 2, 2, 2, 2, 2}
	if len(got) != 1 || got[0].Sizes != want || got[0].Frames != 194+64 || got[0].Batches() != 76 {
		t.Errorf("%+v, want sizes %v", got, want)
	}
	// The rig's clock stands while a batch is worked on: all that was timed took no time.
	if got[0].Times[0] != 2 || got[0].Timed() != 2 || got[0].Took != 0 || got[0].Seen != g.now {
		t.Errorf("of 76 batches the first and the 65th are timed: %+v", got[0])
	}
}

// A batch's time goes to the first bound that holds it, the slowest past the last.
func TestLoadTimes(t *testing.T) {
	for i, d := range append(dataplane.LoadTimes[:], time.Second) {
		g := newRig(t, 1)
		g.plane.Watch(&dataplane.Watcher{Told: func(*dataplane.Event) { g.now += d }})
		g.queues[0][1].Put(tcp(client, 1000, packet.SYN).Frame(), packet.Vnet{})
		if _, _, err := g.workers[0].Turn(); err != nil {
			t.Fatal(err)
		}
		g.workers[0].HandOver()
		if l := g.plane.WorkerStatuses()[0]; l.Times[i] != 1 || l.Timed() != 1 || l.Took != d {
			t.Errorf("%v: %+v, want place %d", d, l, i)
		}
	}
}

// EachService lists what Services does, in runs, and leaves out what goes meanwhile.
func TestEachServiceListsAll(t *testing.T) {
	g := newRig(t, 1)
	key := func(i int) conf.ServiceKey {
		return conf.ServiceKey{Proto: packet.TCP, Addr: netip.AddrFrom4([4]byte{10, 0, 3, byte(i)}), Port: uint16(1 + i>>8)}
	}
	const n = 700
	for i := range n {
		if err := g.plane.AddService(conf.Service{Key: key(i), Scheduler: "rr", Name: fmt.Sprint("s", i)}); err != nil {
			t.Fatal(err)
		}
		for j := range i % 4 {
			if err := g.plane.AddServer(key(i), conf.Server{Addr: netip.AddrFrom4([4]byte{10, 0, 2, byte(j + 1)}), Port: 80, Weight: j}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []dataplane.ServiceStatus
	g.plane.EachService(func(s *dataplane.ServiceStatus) bool { got = append(got, *s); return true })
	if want := g.plane.Services(); len(got) != n || !reflect.DeepEqual(got, want) {
		t.Errorf("%d services of %d, or others than Services lists", len(got), len(want))
	}
	seen := 0
	g.plane.EachService(func(*dataplane.ServiceStatus) bool { // f may change the state: no lock is held
		if seen == 0 {
			if err := g.plane.DeleteService(key(n - 1)); err != nil {
				t.Fatal(err)
			}
		}
		seen++
		return true
	})
	if seen != n-1 {
		t.Errorf("%d services after one was deleted, want %d", seen, n-1)
	}
	seen = 0
	g.plane.EachService(func(*dataplane.ServiceStatus) bool { seen++; return seen < 3 })
	if seen != 3 {
		t.Errorf("f was called %d times, and said no at the third", seen)
	}
}

// leaky is a queue whose ring had no room for some frames since it was last asked.
type leaky struct {
	*pcap.Queue
	lost uint64
}

func (q *leaky) Stats() (st dataplane.QueueStats, err error) {
	st.Dropped, st.Peak, q.lost = q.lost, uint8(20*q.lost), 0
	return st, nil
}

// What each ring lost is told of each, and of the port as a whole.
func TestRingsTellWhatTheyLost(t *testing.T) {
	g := newRig(t, 1)
	lossy := &leaky{&pcap.Queue{L2: true}, 5}
	w := g.plane.NewWorker([]dataplane.Queue{&pcap.Queue{L2: true}, lossy})
	w.HandOver()
	lossy.lost = 2
	w.HandOver()
	got := g.plane.WorkerStatuses()
	if none := (dataplane.RingStatus{}); !slices.Equal(got[0].Rings, []dataplane.RingStatus{none, none}) ||
		!slices.Equal(got[1].Rings, []dataplane.RingStatus{none, {Dropped: 7, Peak: 40}}) {
		t.Errorf("by ring %+v and %+v, want nothing and 7 of the second port, 40 %% full of late", got[0].Rings, got[1].Rings)
	}
	if n := g.plane.Ports()[1].RxDropped; n != 7 {
		t.Errorf("the port lost %d, want 7", n)
	}
}
