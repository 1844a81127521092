package sched

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// loaded is a service with n servers of mixed weights and load, in all states of
// eligibility but mostly eligible.
func loaded(t testing.TB, name string, n int) *service {
	r := rand.New(rand.NewPCG(5, 6))
	var list []*Server
	for i := range n {
		s := server(i, 1+r.Int32N(100))
		s.Active.Store(1 + r.Int32N(1000))
		s.Inactive.Store(r.Int32N(1000))
		s.Overload.Store(r.IntN(20) == 0)
		list = append(list, s)
	}
	s, err := Config{Random: nil}.New(name, Flag1|Flag2, list)
	if err != nil {
		t.Fatal(err)
	}
	return &service{t: t, Scheduler: s}
}

// requests are from and to many addresses; Pick must not keep any of them.
func requests(n int) (rs []Request) {
	for i := range uint32(n) {
		r := to(i*2654435761, 0)
		r.Src = to(i*0x9e3779b1+1, 0).Dst
		rs = append(rs, *r)
	}
	return rs
}

// A pick allocates nothing; lblc and lblcr only for a destination they meet first.
func TestPickDoesNotAllocate(t *testing.T) {
	rs := requests(64)
	for _, name := range append(Names(), None) {
		v := loaded(t, name, 50)
		batch := func() {
			for i := range rs {
				v.Pick(&rs[i])
			}
		}
		batch() // lblc and lblcr meet the destinations
		if n := testing.AllocsPerRun(200, batch); n != 0 {
			t.Errorf("%s: %v allocations for 64 picks", name, n)
		}
	}
}

// Eight workers pick while one caller edits, and the last edit is what counts then.
func TestPickBesideTheControlPlane(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			v := newService(t, name, Flag1|Flag2, Config{LBLCRExpiration: 1}).with(3, 1, 2)
			var known sync.Map // every server that ever was
			for _, s := range v.servers {
				known.Store(s, true)
			}
			var (
				wg    sync.WaitGroup
				done  atomic.Bool
				picks atomic.Int64
			)
			for w := range 8 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(w), 0))
					held := new(Server) // a worker has one connection at a time
					for n := 0; !done.Load(); n++ {
						s := v.Pick(to(r.Uint32N(200), time.Duration(n)))
						held.Active.Add(-1)
						if s == nil {
							s = new(Server)
						} else if _, ok := known.Load(s); !ok {
							t.Errorf("picked a server never added: %p", s)
							return
						} else {
							picks.Add(1)
						}
						s.Active.Add(1)
						held = s
					}
					held.Active.Add(-1)
				})
			}
			r := rand.New(rand.NewPCG(99, 0))
			for n := range 600 {
				id := r.IntN(6)
				switch s := v.servers[id]; {
				case s == nil:
					s = server(id, r.Int32N(9))
					known.Store(s, true)
					v.join(id, s)
				case r.IntN(3) == 0:
					v.del(id)
				default:
					s.Overload.Store(r.IntN(4) == 0)
					v.edit(id, r.Int32N(9))
				}
				v.SetFlags(Flags(r.IntN(4)))
				v.Housekeep(time.Duration(n) * time.Minute)
			}
			for id := range v.servers {
				v.del(id)
			}
			last := server(77, 1)
			known.Store(last, true)
			v.join(77, last)
			for start, end := picks.Load(), time.Now().Add(10*time.Second); picks.Load() < start+100; {
				if time.Now().After(end) {
					t.Error("the workers do not pick the server that is left")
					break
				}
				runtime.Gosched()
			}
			done.Store(true)
			wg.Wait()
			for n := range uint32(200) {
				if got := v.pickTo(n, 0); got != 77 {
					t.Fatalf("picked %d, want the only server, 77", got)
				}
			}
		})
	}
}

// Nanoseconds for each pick; the least-load family must stay well under 500 for 100
// servers.
func BenchmarkPick(b *testing.B) {
	rs := requests(1024)
	for _, name := range Names() {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				v := loaded(b, name, n)
				for i := range rs {
					v.Pick(&rs[i])
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					v.Pick(&rs[i%len(rs)])
				}
			})
		}
	}
}

// Two or more workers at once: what the locks of rr, wrr, lblc and lblcr cost.
func BenchmarkPickParallel(b *testing.B) {
	rs := requests(1024)
	for _, name := range []string{"rr", "wrr", "wlc", "lblc", "lblcr"} {
		b.Run(name, func(b *testing.B) {
			v := loaded(b, name, 10)
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					v.Pick(&rs[i%len(rs)])
				}
			})
		})
	}
}

// What one change of a service costs its single writer.
func BenchmarkRebuild(b *testing.B) {
	for _, name := range []string{"dh", "sh", "mh"} {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				v := loaded(b, name, n)
				s := server(n, 1)
				for b.Loop() {
					v.Add(s)
					v.Remove(s)
				}
			})
		}
	}
}

// A destination lblc and lblcr meet for the first time.
func BenchmarkNewDestination(b *testing.B) {
	for _, name := range []string{"lblc", "lblcr"} {
		b.Run(name, func(b *testing.B) {
			v := loaded(b, name, 10)
			var n uint32
			now := time.Duration(0)
			b.ReportAllocs()
			for b.Loop() {
				if n++; n%16384 == 0 {
					now += 7 * time.Minute
					v.Housekeep(now)
				}
				v.Pick(to(n, now))
			}
		})
	}
}
