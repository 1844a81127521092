package health

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// keepalived 5.5: on a reload, servers that match keep alive state and weights, checkers
// that match keep their state, new checkers on existing servers start as up unless alpha,
// removed servers are gone at once.
func TestReloadKeepsWhatMatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 3)
		s.Update([]conf.Service{svc}, nil)
		s.run()
		s.play(1, false)
		id := ID{svc.Key, svc.Servers[0].ID()}
		before, _ := s.Explain(id)
		s.want(svc, "2:1 3:1")
		asked := s.at(2).count()

		// The same again: nothing is asked anew, nobody is told.
		s.kinds()
		s.Update([]conf.Service{svc}, nil)
		if after, _ := s.Explain(id); after.Up || !after.Since.Equal(before.Since) || after.Why != WhyRefused {
			t.Errorf("after the same again: %+v, before %+v", after, before)
		}
		if s.at(2).count() != asked || len(s.kinds()) > 0 {
			t.Error("the same again asked or told")
		}

		// Other times and counts of the same question keep the state.
		slow := web(conf.HealthCheck{Interval: 20 * time.Second, Rise: 2, Fall: 5}, 3)
		s.Update([]conf.Service{slow}, nil)
		s.want(slow, "2:1 3:1")
		s.at(1).set(good)
		time.Sleep(1100 * time.Millisecond) // by the old alarm
		s.want(slow, "2:1 3:1")             // one good answer of two
		time.Sleep(20 * time.Second)
		s.want(slow, "1:1 2:1 3:1")

		// Another question is a new check: up, and believed at its first answer.
		s.at(3).set(bad)
		other := web(conf.HealthCheck{Probe: conf.Probe{Type: conf.ProbeHTTP, Timeout: time.Second}, Interval: time.Second, Rise: 1, Fall: 5, Warmup: time.Second}, 3)
		s.Update([]conf.Service{other}, nil)
		if got, _ := s.InForce(&other); len(got) != 3 {
			t.Errorf("a new check took %d of 3 out", 3-len(got))
		}
		time.Sleep(1100 * time.Millisecond)
		s.want(other, "1:1 2:1")

		// With alpha it is down until it has answered.
		s.at(3).set(good)
		time.Sleep(1100 * time.Millisecond)
		alpha := other
		alpha.Health = other.Health.Clone()
		alpha.Health.Checks[0].Alpha = true
		alpha.Health.Checks[0].Probe.Path = "/other"
		s.Update([]conf.Service{alpha}, nil)
		if got, _ := s.InForce(&alpha); len(got) != 0 {
			t.Errorf("before the first answer %v", got)
		}
		time.Sleep(1100 * time.Millisecond)
		s.want(alpha, "1:1 2:1 3:1")

		// A removed server is gone, with what it weighed; the others have moved up.
		alpha.Servers = alpha.Servers[1:]
		s.Update([]conf.Service{alpha}, nil)
		s.want(alpha, "2:1 3:1")
		if st, _ := s.Service(alpha.Key); st.Weight != 2 || st.Alive != 2 || st.Servers != 2 {
			t.Errorf("left: %+v", st)
		}
		if _, known := s.Explain(id); known {
			t.Error("a removed server is known")
		}
		n := s.at(1).count()
		time.Sleep(5 * time.Second)
		if s.at(1).count() != n {
			t.Error("a removed server is asked")
		}

		// A service that is gone, or has no Health any more, is asked about no longer.
		s.Update(nil, []conf.ServiceKey{alpha.Key})
		synctest.Wait()
		n = s.at(2).count()
		time.Sleep(5 * time.Second)
		if st := s.Stats(); st.Targets != 0 || s.at(2).count() != n {
			t.Errorf("%d targets left; asked %d times more", st.Targets, s.at(2).count()-n)
		}
	})
}

// Quorum and sorry server follow an update at once, and Changed says that they did.
func TestUpdateMovesTheQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 2)
		svc.Health.Sorry = &conf.Server{Addr: ip(99), Weight: 1}
		s.Update([]conf.Service{svc}, nil)
		s.run()
		s.play(1, false)
		s.kinds()
		svc.Servers = svc.Servers[:1]
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "99:1 sorry")
		svc.Health = svc.Health.Clone()
		svc.Health.Sorry = nil
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "")
		svc.Servers = append(svc.Servers, conf.Server{Addr: ip(2), Port: 80, Weight: 3})
		svc.Health = svc.Health.Clone()
		svc.Health.Quorum = 3
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "2:3")
		svc.Servers[1].Weight = 2
		s.Update([]conf.Service{svc}, nil)
		if got := fmt.Sprint(s.kinds()); got != "[quorum_down sorry_on sorry_off quorum_up quorum_down]" {
			t.Errorf("told %v", got)
		}
		// No checks at all: always up.
		svc.Health = &conf.Health{Quorum: 1}
		s.Update([]conf.Service{svc}, nil)
		s.want(svc, "1:1 2:2")
	})
}

// A server's own checks stand in place of the service's.
func TestServersOwnChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 2)
		own := quick
		own.Probe = conf.Probe{Type: conf.ProbeHTTP, Port: 8080, Timeout: time.Second}
		svc.Servers[1].Checks = []conf.HealthCheck{own}
		s.mu.Lock()
		s.target(Target{Addr: ip(2), Port: 8080}).play = bad
		s.mu.Unlock()
		s.Update([]conf.Service{svc}, nil)
		s.run()
		s.want(svc, "1:1")
		if s.at(2).count() != 0 || s.at(1).count() != 1 {
			t.Errorf("asked %d and %d times", s.at(1).count(), s.at(2).count())
		}
	})
}

// An update is one step: what its parts would say of the quorum one by one is nobody's
// news.
func TestUpdateIsWeighedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Config{})
		svc := web(quick, 3)
		svc.Health.Quorum = 10
		svc.Health.Sorry = &conf.Server{Addr: ip(99), Weight: 1}
		set := func(quorum int, weights ...int) {
			svc.Health = svc.Health.Clone()
			svc.Health.Quorum = quorum
			svc.Servers = append([]conf.Server(nil), svc.Servers...)
			for i, w := range weights {
				svc.Servers[i].Weight = w
			}
			s.Update([]conf.Service{svc}, nil)
		}
		set(10, 10, 1, 1)
		s.run()
		time.Sleep(100 * time.Millisecond)
		s.kinds()
		set(10, 1, 10, 1)
		set(100, 100, 1, 1)
		set(10, 1, 1, 10)
		if got := s.kinds(); len(got) > 0 {
			t.Errorf("told %v of a quorum that was never lost", got)
		}
		set(10, 1, 1, 1)
		if got := fmt.Sprint(s.kinds()); got != "[quorum_down sorry_on]" {
			t.Errorf("told %s", got)
		}
		set(100, 1, 1, 98)
		if got := fmt.Sprint(s.kinds()); got != "[quorum_up sorry_off]" {
			t.Errorf("told %s", got)
		}
	})
}
