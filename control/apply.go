package control

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
	"github.com/dirigo-lb/dirigo/packet"
)

// carryOut makes what the steps of the desired state say true: one new table for the
// workers, one change of the guard, one of the neighbour cache, whose cost is that of the
// steps. The host is kept off what comes before it comes, and let back after what goes has
// gone. After an error everything is as it was, but for the desired state.
func (d *Director) carryOut(steps []conf.Step) error {
	e := effectOf(steps)
	guarded := func() error { return nil }
	if e.unseen { // a restore: guard and plane take about as long
		done := make(chan error, 1)
		go func() { done <- d.guardBefore(&e) }()
		guarded = func() error { return <-done }
	} else if err := d.guardBefore(&e); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	judged := d.judged(steps)
	err := d.doAll(steps, judged)
	if err == nil {
		err = d.rejudge(judged)
	}
	if gerr := guarded(); gerr != nil {
		err = errors.Join(err, fmt.Errorf("guard: %w", gerr))
	}
	if err != nil { // go back to what was
		d.state.Undo(0)
		err = errors.Join(err, d.resync(judged))
		d.plane.Publish()
		d.updateHost()
		return err
	}
	d.cfg = d.inForce()
	d.configure(&e)
	if e.routes {
		d.plane.SetEnvironment(d.environment(d.cfg))
	}
	d.plane.Publish()
	if e.removed || e.sysctl || len(judged) > 0 {
		d.plane.ExpireOrphans()
	}
	defer d.askAnew(judged)
	if e.routes || e.marks { // rare: these bear on everything
		d.publishTable(d.cfg, d.state.Snapshot().Services)
		d.updateHost()
		return nil
	}
	d.changeVIPs(e.came, e.gone)
	if e.neighbors {
		d.setStatic(d.cfg)
	}
	others := d.countLocal(e.came, 1)
	d.letGo(e.gone)
	if others {
		d.updateLocal()
	}
	return nil
}

// guardBefore keeps the host off what comes.
func (d *Director) guardBefore(e *effect) error {
	switch {
	case d.guard == nil:
		return nil
	case e.marks: // until they are all there, by the old marks and the new ones
		r := d.guardRules()
		for i := range e.gone {
			r.Services = append(r.Services, serviceOf(&e.gone[i]))
		}
		r.Marks = slices.Concat(d.state.Settings().Marks, d.cfg.Marks)
		return d.guard.Update(r)
	case len(e.came) > 0:
		return d.guard.Change(e.came, nil)
	}
	return nil
}

func serviceOf(p *host.Piece) conf.Service {
	s := conf.Service{Key: p.Key}
	if p.OfServer {
		s.Servers = []conf.Server{{Addr: p.Server.Addr, Port: p.Server.Port, Forward: p.Forward}}
	}
	return s
}

// doAll makes the steps in the data plane, but for what judged services get with rejudge.
func (d *Director) doAll(steps []conf.Step, judged map[conf.ServiceKey]bool) error {
	for i := range steps {
		c, ok := withoutServers(steps[i].Change, judged)
		if !ok {
			continue
		}
		if err := d.do(c, &steps[i]); err != nil {
			// Judged before, so this is a fault of the program.
			return fmt.Errorf("%v: %w", steps[i].Change, err)
		}
	}
	return nil
}

// do makes one change in the data plane. What is not about services follows from the
// new state as a whole.
func (d *Director) do(c conf.Change, step *conf.Step) error {
	switch c := c.(type) {
	case conf.AddService:
		return d.addService(&c.Service, c.Service.Servers)
	case conf.EditService:
		return d.plane.EditService(c.Service)
	case conf.DelService:
		return d.plane.DeleteService(c.Key)
	case conf.Clear:
		for i := range step.Services {
			if err := d.plane.DeleteService(step.Services[i].Key); err != nil {
				return err
			}
		}
	case conf.AddServer:
		return d.plane.AddServer(c.Key, c.Server)
	case conf.EditServer:
		return d.plane.EditServer(c.Key, c.Server)
	case conf.DelServer:
		return d.plane.DeleteServer(c.Key, conf.Server{Addr: c.Server.Addr, Port: c.Server.Port})
	}
	return nil
}

// resync makes the data plane's services those of the desired state and the health that is
// known of them, which is told of the judged ones again.
func (d *Director) resync(judged map[conf.ServiceKey]bool) (err error) {
	d.tellHealth(judged)
	is := conf.Default()
	for _, s := range d.plane.Services() {
		svc := s.Service
		for _, srv := range slices.Backward(s.Servers) {
			svc.Servers = append(svc.Servers, srv.Server)
		}
		is.Services = append(is.Services, svc)
	}
	want := conf.Default()
	for s := range d.state.Services() {
		svc := *s
		svc.Health, svc.Servers = nil, d.serversInForce(s)
		want.Services = append(want.Services, svc)
	}
	for _, c := range conf.Diff(is, want) {
		err = errors.Join(err, d.do(c, &conf.Step{}))
	}
	return err
}

// addService adds a service and its servers, oldest first, as ipvsadm -A and -a would.
func (d *Director) addService(s *conf.Service, servers []conf.Server) error {
	bare := *s
	bare.Health = nil // no business of the data plane
	if err := d.plane.AddService(bare); err != nil {
		return err
	}
	for _, srv := range servers {
		if err := d.plane.AddServer(s.Key, srv); err != nil {
			return err
		}
	}
	return nil
}

// vipBatch is how many VIPs change at once: the neighbour cache's lock is one that workers
// wait for.
const vipBatch = 100

// changeVIPs tells the neighbour cache which VIPs are the first of theirs or were the last.
func (d *Director) changeVIPs(came, gone []host.Piece) {
	var changes []arp.VIPChange
	count := func(pieces []host.Piece, by int) {
		for i := range pieces {
			a := pieces[i].Key.Addr
			if pieces[i].OfServer || !a.IsValid() {
				continue
			}
			was := d.vips[a]
			if d.vips[a] = was + by; was+by == 0 {
				delete(d.vips, a)
			}
			if was == 0 || was+by == 0 {
				for _, port := range vipPorts(&d.env, a) {
					changes = append(changes, arp.VIPChange{Port: port, VIP: packet.AddrFrom(a), Own: by > 0})
				}
			}
		}
	}
	count(came, 1)
	count(gone, -1)
	for chunk := range slices.Chunk(changes, vipBatch) {
		d.plane.Neighbors().ChangeVIPs(chunk)
	}
}

// updateHost brings guard and policy rules in line with the whole state.
func (d *Director) updateHost() {
	d.linger = d.lingering()
	if d.guard != nil {
		rules := d.guardRules()
		if err := d.guard.Update(rules); err != nil {
			d.log.Warn("guard was lost and is put up again", "err", err)
			if err := d.guard.Install(d.guarded, rules); err != nil {
				d.log.Error("guard", "err", err)
			}
		}
	}
	if d.local != nil {
		d.recountLocal()
		d.updateLocal()
	}
}
