package control

import (
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
)

func counts(c dataplane.Counter) api.Counts {
	return api.Counts{Connections: c.Conns, InPackets: c.InPkts, OutPackets: c.OutPkts, InBytes: c.InBytes, OutBytes: c.OutBytes}
}

func rates(r dataplane.Rates) api.Rates {
	return api.Rates{Connections: r.CPS, InPackets: r.InPPS, OutPackets: r.OutPPS, InBytes: r.InBPS, OutBytes: r.OutBPS}
}

// Status reads the director's state.
func (d *Director) Status() api.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := api.Status{
		Version: d.opt.Version, Name: d.cfg.Director.Name, Uptime: time.Since(d.started).Seconds(), Workers: len(d.workers),
		Connections: d.plane.Conns().Len(), Max: d.plane.Conns().Max(), Reasons: map[string]uint64{}, Neighbors: map[string]uint64{},
	}
	s.Health = d.healthCounts()
	if d.reloadErr != nil {
		s.ReloadError = d.reloadErr.Error()
	}
	ports, workers := d.plane.Ports(), d.plane.WorkerStatuses()
	for i := range d.links {
		s.Ports = append(s.Ports, d.port(i, ports[i], workers))
	}
	for r, n := range d.plane.Reasons() {
		if n > 0 {
			s.Reasons[dataplane.Reason(r).String()] = n
		}
	}
	for r, n := range d.plane.Neighbors().Counters() {
		if n > 0 {
			s.Neighbors[arp.Reason(r).String()] = n
		}
	}
	return s
}

// port is a port on the wire. The caller holds d.mu.
func (d *Director) port(i int, c dataplane.PortCounters, workers []dataplane.WorkerStatus) api.Port {
	l := &d.links[i]
	p := api.Port{Name: l.Name, MTU: l.MTU, Guarded: d.guard != nil && d.cfg.Ports[i].Guard == conf.GuardOn && d.cfg.Ports[i].Driver == conf.AFPacket,
		Received: c.RxFrames, Sent: c.TxFrames, Lost: c.TxLost, LostFull: c.TxFull, LostRefused: c.TxRefused, LostDown: c.TxDown(), Dropped: c.RxDropped}
	for _, w := range workers {
		r := &w.Rings[i]
		p.Queues = append(p.Queues, api.Queue{Received: r.Frames, Batches: r.Batches, Dropped: r.Dropped, Peak: int(r.Peak)})
	}
	return p
}

// serviceStatus is a service on the wire.
func serviceStatus(s *dataplane.ServiceStatus) api.ServiceStatus {
	svc := api.ServiceStatus{Service: api.ServiceOf(&s.Service), Counts: counts(s.Counter), Rates: rates(s.Rates), Servers: []api.ServerStatus{}}
	for i := len(s.Servers) - 1; i >= 0; i-- { // the plane lists the newest first
		r := &s.Servers[i]
		svc.Servers = append(svc.Servers, api.ServerStatus{
			Server: api.ServerOf(&r.Server), Active: r.Active, Inactive: r.Inactive, Persistent: r.Persistent,
			Overloaded: r.Overload, Counts: counts(r.Counter), Rates: rates(r.Rates),
		})
	}
	return svc
}

func connection(c *dataplane.Conn) api.Connection {
	return api.Connection{
		Proto: c.Proto, State: c.State, Expires: c.Expires.Seconds(), Client: c.Client, Virtual: c.Virtual,
		Server: c.Dest, Forward: c.Method, Template: c.Template, Packets: c.Packets, Engine: c.Engine, EngineData: c.EngineData,
	}
}
