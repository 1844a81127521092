package health

import (
	"net/netip"

	"github.com/dirigo-lb/dirigo/conf"
)

// question is what a Prober asks: checks with equal questions share one. The address and
// port of the probe are settled, so they stand in the target alone.
type question struct {
	probe  conf.Probe
	target Target
}

// ask settles whom a check of a server asks. A probe by way of the service goes to the
// VIP and the service's port, since there the forwarding method takes it up.
func ask(p conf.Probe, svc *conf.Service, srv *conf.Server) question {
	id := srv.ID()
	t := Target{Addr: id.Addr, Port: p.Port}
	ports := []uint16{srv.Port, svc.Key.Port, p.StandardPort()}
	if p.Via == conf.ViaService {
		t.Addr = svc.Key.Addr
		ports = []uint16{svc.Key.Port, srv.Port, p.StandardPort()}
	}
	if p.Via == conf.ViaService || p.Type == conf.ProbeExternal {
		t.Service, t.Server = svc.Key, id
	}
	if p.Addr.IsValid() {
		t.Addr = p.Addr
	}
	for _, port := range ports {
		if t.Port == 0 {
			t.Port = port
		}
	}
	if p.Type == conf.ProbePing {
		t.Port = 0
	}
	p.Addr, p.Port = netip.Addr{}, 0
	return question{p, t}
}

// String is the target as it is written in a log: its address and port, and the service
// if the probe goes by it.
func (t Target) String() string {
	s := conf.ServerID{Addr: t.Addr, Port: t.Port}.String()
	if t.Service != (conf.ServiceKey{}) {
		s += " of " + t.Service.String()
	}
	return s
}
