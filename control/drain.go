package control

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// drains are the servers that are being drained: weight 0, so that no new connection goes
// there, with what undrain has to know. They are not of the desired state and do not
// outlive the director.
type drains struct {
	mu   sync.Mutex // held while weights are changed for it
	list map[dataplane.ServerOf]drain
}

type drain struct {
	weight int // from before; 0: not known
	since  time.Time
	began  int
}

// errNotFound and errConflict tell the kinds of refusals apart.
var (
	errNotFound = errors.New("not found")
	errConflict = errors.New("conflict")
)

// place is a server in a service of the running state.
type place struct {
	dataplane.ServerOf
	service, name string
	server        conf.Server
	last          bool // no other server of the service has a weight
}

// places finds a server, named by name, address, or address and port, in all services or
// in one.
func (d *Director) places(server, service string) ([]place, error) {
	var only *conf.ServiceKey
	if service != "" {
		k, err := d.serviceNamed(service)
		if err != nil {
			return nil, fmt.Errorf("%w%w", err, unsaid{errNotFound})
		}
		only = &k
	}
	is := serverNamed(server)
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []place
	for svc := range d.state.Services() {
		if only != nil && svc.Key != *only {
			continue
		}
		for j := range svc.Servers {
			if s := &svc.Servers[j]; is(s) {
				others := slices.ContainsFunc(svc.Servers, func(o conf.Server) bool { return !is(&o) && o.Weight > 0 && d.isUp(svc, &o) })
				list = append(list, place{dataplane.ServerOf{Service: svc.Key, Server: s.ID()}, svc.Name, s.Name, *s, !others})
			}
		}
	}
	if len(list) == 0 {
		return nil, noServer(server)
	}
	return list, nil
}

// serverNamed judges servers by a name, an address, or an address and port.
func serverNamed(name string) func(*conf.Server) bool {
	addr, _ := netip.ParseAddr(name)
	both, _ := netip.ParseAddrPort(name)
	return func(s *conf.Server) bool {
		id := s.ID()
		return s.Name != "" && s.Name == name || addr.IsValid() && id.Addr == addr.Unmap() ||
			both.IsValid() && id.Addr == both.Addr().Unmap() && id.Port == both.Port()
	}
}

func noServer(name string) error {
	return fmt.Errorf("no service has a server %q (a name, an address, or an address and port)%w", name, unsaid{errNotFound})
}

// unsaid is an error's kind without its words.
type unsaid struct{ error }

func (unsaid) Error() string   { return "" }
func (u unsaid) Unwrap() error { return u.error }

// drain gives a server weight 0 and remembers the old one. With reset it ends the
// server's connections.
func (d *Director) drain(server, service string, reset bool) (out api.Drains, err error) {
	d.drains.mu.Lock()
	defer d.drains.mu.Unlock()
	list, err := d.places(server, service)
	if err != nil {
		return out, err
	}
	if err := d.weigh(list, func(place) int { return 0 }); err != nil {
		return out, err
	}
	if d.drains.list == nil {
		d.drains.list = map[dataplane.ServerOf]drain{}
	}
	left := d.plane.Remaining(servers(list))
	for i, p := range list {
		if _, known := d.drains.list[p.ServerOf]; !known || p.server.Weight != 0 {
			d.drains.list[p.ServerOf] = drain{weight: p.server.Weight, since: time.Now(), began: left[i].Open}
		}
	}
	if reset {
		out.Ended = d.plane.EndConnections(servers(list))
	}
	out.Drains = d.describe(list)
	return out, nil
}

// undrain gives a drained server its old weight, or the one given.
func (d *Director) undrain(server, service string, weight *int) (out api.Drains, err error) {
	d.drains.mu.Lock()
	defer d.drains.mu.Unlock()
	list, err := d.places(server, service)
	if err != nil {
		return out, err
	}
	var drained []place
	for _, p := range list {
		switch old := d.drains.list[p.ServerOf]; {
		case weight == nil && p.server.Weight != 0:
			continue // it takes connections
		case weight == nil && old.weight == 0:
			return out, fmt.Errorf("nothing was changed: %v of %v has weight 0, and the one from before is not known (it had none, or the director was started since): give a weight%w",
				p.Server, p.Service, unsaid{errConflict})
		}
		drained = append(drained, p)
	}
	if len(drained) == 0 {
		return out, fmt.Errorf("server %s is not drained%w", server, unsaid{errConflict})
	}
	if err := d.weigh(drained, func(p place) int {
		if weight != nil {
			return *weight
		}
		return d.drains.list[p.ServerOf].weight
	}); err != nil {
		return out, err
	}
	out.Drains = d.describe(drained)
	for i, p := range drained {
		w := d.drains.list[p.ServerOf].weight
		if weight != nil {
			w = *weight
		}
		out.Drains[i].Weight = &w
		delete(d.drains.list, p.ServerOf)
	}
	return out, nil
}

// draining is what is being drained. A server that has got a weight by another way, by a
// reload or ipvsadm, no longer is.
func (d *Director) draining() api.Drains {
	d.drains.mu.Lock()
	defer d.drains.mu.Unlock()
	var list []place
	for of := range d.drains.list {
		i := -1
		ps, err := d.places(of.Server.String(), of.Service.String())
		if err == nil {
			i = slices.IndexFunc(ps, func(p place) bool { return p.ServerOf == of && p.server.Weight == 0 })
		}
		if i < 0 {
			delete(d.drains.list, of)
			continue
		}
		list = append(list, ps[i])
	}
	slices.SortFunc(list, func(a, b place) int { return d.drains.list[a.ServerOf].since.Compare(d.drains.list[b.ServerOf].since) })
	return api.Drains{Drains: d.describe(list)}
}

// weigh sets the weights of servers, all or none.
func (d *Director) weigh(list []place, weight func(place) int) error {
	var changes []conf.Change
	for _, p := range list {
		s := p.server
		if s.Weight = weight(p); s.Weight != p.server.Weight {
			changes = append(changes, conf.EditServer{Key: p.Service, Server: s})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	_, err := d.Change(changes, true)
	return err
}

func servers(list []place) (out []dataplane.ServerOf) {
	for _, p := range list {
		out = append(out, p.ServerOf)
	}
	return out
}

func (d *Director) describe(list []place) []api.Drain {
	out := []api.Drain{}
	for i, r := range d.plane.Remaining(servers(list)) {
		p := &list[i]
		rec := d.drains.list[p.ServerOf]
		a := api.Drain{
			Service: p.Service, ServiceName: p.service, Server: netip.AddrPortFrom(p.Server.Addr, p.Server.Port), ServerName: p.name,
			Since: rec.since, Began: rec.began, Left: r.Open, Finished: r.Finished, Templates: r.Templates, Longest: r.Longest.Seconds(), Last: p.last,
		}
		if rec.weight != 0 {
			a.Weight = &rec.weight
		}
		if ended := rec.began - r.Open; ended > 0 {
			e := time.Since(rec.since).Seconds() * float64(r.Open) / float64(ended)
			a.Estimate = &e
		}
		out = append(out, a)
	}
	return out
}
