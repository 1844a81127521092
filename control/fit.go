package control

import (
	"errors"

	"github.com/dirigo-lb/dirigo/conf"
)

// The desired state says which servers a service should have; health says which of them it
// has. fit makes the data plane's list what the two say together. A service without health
// checks has what is desired, and costs nothing here.

// judged are the services among those that the steps are about in whose lists health has a
// say, before the steps or after them. What steps say of their servers is left out by do,
// and follows with fit once all is said.
func (d *Director) judged(steps []conf.Step) map[conf.ServiceKey]bool {
	var keys map[conf.ServiceKey]bool
	mark := func(k conf.ServiceKey, is bool) {
		if is && keys == nil {
			keys = map[conf.ServiceKey]bool{}
		}
		if is {
			keys[k] = true
		}
	}
	some := len(d.health.services) > 0
	for i := range steps {
		switch c := steps[i].Change.(type) {
		case conf.AddService:
			mark(c.Service.Key, c.Service.Health != nil)
		case conf.SetHealth:
			mark(c.Key, true)
		case conf.EditService:
			mark(c.Service.Key, some && d.health.services[c.Service.Key])
		case conf.AddServer:
			mark(c.Key, some && d.health.services[c.Key])
		case conf.EditServer:
			mark(c.Key, some && d.health.services[c.Key])
		case conf.SetChecks:
			mark(c.Key, some && d.health.services[c.Key])
		case conf.DelServer:
			mark(c.Key, some && d.health.services[c.Key])
		case conf.DelService, conf.Clear:
			for j := range steps[i].Services {
				k := steps[i].Services[j].Key
				mark(k, some && d.health.services[k])
			}
		}
	}
	return keys
}

// withoutServers leaves out of a change what fit says of the servers of judged services. ok
// is false if nothing is left of it.
func withoutServers(c conf.Change, judged map[conf.ServiceKey]bool) (_ conf.Change, ok bool) {
	if len(judged) == 0 {
		return c, true
	}
	switch s := c.(type) {
	case conf.AddService:
		if judged[s.Service.Key] {
			s.Service.Servers = nil
		}
		return s, true
	case conf.AddServer:
		return c, !judged[s.Key]
	case conf.EditServer:
		return c, !judged[s.Key]
	case conf.DelServer:
		return c, !judged[s.Key]
	}
	return c, true
}

// rejudge tells health of the desired state of services, and fits their lists.
func (d *Director) rejudge(keys map[conf.ServiceKey]bool) (err error) {
	d.tellHealth(keys)
	for k := range keys {
		if s := d.state.Service(k); s != nil {
			err = errors.Join(err, d.fit(s))
		}
	}
	return err
}

// tellHealth tells health of the desired state of services.
func (d *Director) tellHealth(keys map[conf.ServiceKey]bool) {
	if len(keys) == 0 {
		return
	}
	set, gone := d.withHealth(keys)
	for i := range set {
		d.health.services[set[i].Key] = true
	}
	for _, k := range gone {
		delete(d.health.services, k)
		if d.state.Service(k) == nil {
			d.health.forget(k)
		}
	}
	d.health.monitor.Update(set, gone)
}

// withHealth parts services into those that have health checks, as they are desired, and
// those that are gone or have none any more.
func (d *Director) withHealth(keys map[conf.ServiceKey]bool) (set []conf.Service, gone []conf.ServiceKey) {
	for k := range keys {
		if s := d.state.Service(k); s != nil && s.Health != nil {
			set = append(set, s.Clone())
		} else {
			gone = append(gone, k)
		}
	}
	return set, gone
}

// fit makes the list of a service in the data plane what is in force: first what takes load
// comes and is raised, the sorry server too, then what gives it up is lowered and goes, so
// that there is no moment without a server.
func (d *Director) fit(s *conf.Service) error {
	has, ok := d.plane.ServersOf(s.Key)
	if !ok {
		return nil
	}
	var err error
	for _, c := range conf.DiffServers(s.Key, has, d.serversInForce(s)) {
		err = errors.Join(err, d.do(c, nil)) // one server's trouble is not the others'
	}
	d.letGoOf(s)
	return err
}

// serversInForce is what the list of a service has to be now. Checks mean nothing there.
func (d *Director) serversInForce(s *conf.Service) []conf.Server {
	if s.Health == nil {
		return withoutChecks(s.Servers)
	}
	list, _ := d.health.monitor.InForce(s)
	return withoutChecks(list)
}

func withoutChecks(list []conf.Server) []conf.Server {
	for i := range list {
		if list[i].Checks != nil {
			list = append([]conf.Server(nil), list...)
			for j := range list {
				list[j].Checks = nil
			}
			break
		}
	}
	return list
}
