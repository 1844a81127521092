package control

import (
	"net"
	"net/http"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// serveLists mounts what else can be looked at.
func (d *Director) serveLists(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/neighbors", d.neighbors)
	mux.HandleFunc("GET /v1/ports", func(w http.ResponseWriter, _ *http.Request) { reply(w, d.portList()) })
	mux.HandleFunc("GET /v1/reasons", d.reasons)
	mux.HandleFunc("GET /v1/marks", d.marks)
	mux.HandleFunc("GET /v1/rates", d.rates)
}

// neighbors streams the neighbour cache, one entry a line.
func (d *Director) neighbors(w http.ResponseWriter, r *http.Request) {
	out := newStream(w, r)
	for e := range d.plane.Neighbors().Entries(d.plane.Now()) {
		n := api.Neighbor{Address: e.Addr.Netip(), State: e.State.String(), Age: e.Age.Seconds()}
		if e.Port < len(d.links) {
			n.Port = d.links[e.Port].Name
		}
		if e.MAC != (packet.MAC{}) {
			n.MAC = net.HardwareAddr(e.MAC[:]).String()
		}
		if !out.put(n) {
			return
		}
	}
}

// portList lists the ports with their rings.
func (d *Director) portList() api.Ports {
	d.mu.Lock()
	s := api.Ports{Ports: []api.PortStatus{}}
	counters, workers := d.plane.Ports(), d.plane.WorkerStatuses()
	env := d.environment(d.cfg)
	for i, l := range d.links {
		p := api.PortStatus{Port: d.port(i, counters[i], workers), Driver: conf.DriverName(d.cfg.Ports[i].Driver), Rings: len(d.workers), Slots: d.slots[i]}
		for _, w := range workers {
			p.RingDrops = append(p.RingDrops, w.Rings[i].Dropped)
		}
		if l.L2 {
			p.MAC = net.HardwareAddr(l.MAC[:]).String()
		}
		for _, a := range env.Ports[i].Addresses {
			p.Addresses = append(p.Addresses, a.String())
		}
		s.Ports = append(s.Ports, p)
	}
	d.mu.Unlock()
	for i := range s.Ports { // the kernel is asked without the lock
		err := linkDown(s.Ports[i].Name)
		if s.Ports[i].Up = err == nil; err != nil {
			s.Ports[i].Problem = err.Error()
		}
	}
	return s
}

// reasons lists all that frames can end with, and how many have.
func (d *Director) reasons(w http.ResponseWriter, _ *http.Request) {
	var s api.Reasons
	for i, n := range d.plane.Reasons() {
		r := dataplane.Reason(i)
		one := api.Reason{Name: r.String(), Count: n, Rule: r.Rule()}
		for _, v := range r.Verdicts() {
			one.Verdicts = append(one.Verdicts, v.String())
		}
		s.Reasons = append(s.Reasons, one)
	}
	reply(w, s)
}

// marks lists the mark rules in the order they are tried.
func (d *Director) marks(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	s := api.Marks{Marks: []api.Mark{}}
	for i := range d.cfg.Marks {
		s.Marks = append(s.Marks, api.MarkOf(&d.cfg.Marks[i]))
	}
	d.mu.Unlock()
	reply(w, s)
}

// rates lists the rates of all services together and of each.
func (d *Director) rates(w http.ResponseWriter, _ *http.Request) {
	total := d.plane.Total()
	s := api.RatesReply{Counts: counts(total.Counter), Rates: rates(total.Rates), Services: []api.ServiceRates{}}
	d.plane.EachService(func(svc *dataplane.ServiceStatus) bool {
		s.Services = append(s.Services, api.ServiceRates{Service: svc.Key, Rates: rates(svc.Rates)})
		return true
	})
	reply(w, s)
}
