package control

import (
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
)

// serviceHealth is a service of the desired state on the wire. drained are the weights of
// servers from before they were drained; ok is false if nothing of it is asked for.
func (d *Director) serviceHealth(s *conf.Service, c chosen, drained map[dataplane.ServerOf]int) (out api.ServiceHealth, ok bool) {
	st, ok := d.health.monitor.Service(s.Key)
	if !ok {
		return out, false
	}
	out = api.ServiceHealth{Service: s.Key, Name: s.Name, Up: st.Up, Since: st.Since, Weight: st.Weight,
		Quorum: st.Quorum, Hysteresis: st.Hysteresis, Alive: st.Alive, Total: st.Servers, Servers: []api.ServerHealth{}}
	if sorry := s.Health.Sorry; sorry != nil {
		out.Sorry = &api.Sorry{Server: netip.AddrPortFrom(sorry.Addr, sorry.Port), Active: st.Sorry}
	}
	for i := range s.Servers {
		srv := &s.Servers[i]
		if !c.is(srv) {
			continue
		}
		e, known := d.health.monitor.Explain(health.ID{Service: s.Key, Server: srv.ID()})
		if !known || c.down && e.Up {
			continue
		}
		out.Servers = append(out.Servers, d.serverHealth(srv, &e, &st, drained[dataplane.ServerOf{Service: s.Key, Server: srv.ID()}]))
	}
	return out, len(out.Servers) > 0 || !c.server && (!c.down || !st.Up)
}

// serverHealth is a server on the wire; before is its weight from before a drain, 0 if it
// is not drained.
func (d *Director) serverHealth(s *conf.Server, e *health.Explanation, st *health.ServiceState, before int) api.ServerHealth {
	out := api.ServerHealth{Server: netip.AddrPortFrom(s.Addr, s.Port), Name: s.Name, State: e.State, Up: e.Up, Since: e.Since,
		Changes: e.Changes, Weight: weightHealth(e, st, before), Checks: []api.CheckHealth{}}
	if !e.Held.IsZero() {
		out.Held = &e.Held
	}
	for i := range e.Checks {
		out.Checks = append(out.Checks, checkHealth(&e.Checks[i]))
	}
	return out
}

// weightHealth says how a weight comes about. A drain makes the desired weight 0, so the
// product shows the one from before.
func weightHealth(e *health.Explanation, st *health.ServiceState, before int) api.WeightHealth {
	w := api.WeightHealth{File: e.File, Ramp: e.Ramp, Drain: 1, InForce: e.InForce, Present: e.Present}
	if e.Up {
		w.Health = 1
	}
	if e.File == 0 && before != 0 {
		w.File, w.Drain = before, 0
	}
	if e.HasDynamic {
		w.Dynamic = &e.Dynamic
	}
	switch {
	case st.Sorry && e.Up && !e.Present:
		w.Reason = "the sorry server stands in its place, for the service has no quorum"
	case st.Sorry && e.Up:
		w.Reason = "0 while the sorry server serves, for the service has no quorum"
	case e.Up && e.Ramp < 1 && e.InForce == 1:
		w.Reason = "at least 1, so that it takes part"
	}
	return w
}

func checkHealth(c *health.CheckState) api.CheckHealth {
	out := api.CheckHealth{Name: c.Label, Type: string(c.Type), Target: targetText(&c.Target), Up: c.Up, Unchecked: c.Unchecked, Good: c.Good, Bad: c.Bad}
	if !c.Last.At.IsZero() {
		out.Last = probeResult(&c.Last)
	}
	if !c.Next.IsZero() {
		out.Next = &c.Next
	}
	return out
}

// targetText is whom a check asks.
func targetText(t *health.Target) string {
	if t.Port == 0 {
		return t.Addr.String()
	}
	return netip.AddrPortFrom(t.Addr, t.Port).String()
}

func probeResult(r *health.Result) *api.ProbeResult {
	out := &api.ProbeResult{At: r.At, Took: r.Took.Seconds(), OK: r.OK, Why: string(r.Why), Text: r.Text, Warning: r.Warning}
	if r.HasWeight {
		out.Weight = &r.Weight
	}
	return out
}

func healthEvent(e *health.Event) api.HealthEvent {
	out := api.HealthEvent{At: e.At, Kind: e.Kind, ServiceName: e.ServiceName, ServerName: e.ServerName, Up: e.Up, Why: string(e.Why), Text: e.Text}
	if e.ID.Service != (conf.ServiceKey{}) {
		k := e.ID.Service
		out.Service = &k
	}
	if !e.OfService && e.ID.Server.Addr.IsValid() {
		a := netip.AddrPortFrom(e.ID.Server.Addr, e.ID.Server.Port)
		out.Server = &a
	}
	return out
}

// healthCounts sums health up. The caller holds d.mu.
func (d *Director) healthCounts() *api.HealthCounts {
	if len(d.health.services) == 0 {
		return nil
	}
	var n api.HealthCounts
	for k := range d.health.services {
		st, ok := d.health.monitor.Service(k)
		if !ok {
			continue
		}
		n.Services++
		n.Servers += st.Servers
		n.ServersDown += st.Servers - st.Alive
		n.Unchecked += st.Unchecked
		if !st.Up {
			n.ServicesDown++
		}
		if st.Sorry {
			n.Sorry++
		}
	}
	return &n
}

// drained are the weights from before of servers that are drained.
func (d *Director) drained() map[dataplane.ServerOf]int {
	d.drains.mu.Lock()
	defer d.drains.mu.Unlock()
	if len(d.drains.list) == 0 {
		return nil
	}
	list := make(map[dataplane.ServerOf]int, len(d.drains.list))
	for of, r := range d.drains.list {
		list[of] = r.weight
	}
	return list
}
