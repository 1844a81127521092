package conf

import (
	"slices"
	"time"
)

// Diff gives the changes that lead from one valid state to another, in an order in
// which they can be applied. What did not change gives no change, and an order that
// means nothing (of services, servers, ports, routes and neighbours) is not compared:
// what is kept keeps its place, what is new comes after it in the new state's order.
// A service is known by its key, a server by its address and port.
func Diff(old, new *Config) (changes []Change) {
	if old.Director != new.Director {
		changes = append(changes, SetDirector{new.Director, old.Director})
	}
	changes = append(changes, diffListeners(old, new)...)
	if !sameSet(old.Ports, new.Ports, (*Port).id, (*Port).pairs) {
		changes = append(changes, SetPorts{new.Ports, old.Ports})
	}
	a, b := old.Conntrack, new.Conntrack
	if a.MaxConnections != b.MaxConnections {
		changes = append(changes, SetMaxConnections{b.MaxConnections, a.MaxConnections})
	}
	if t := (SetTimeouts{other(a.TCP, b.TCP), other(a.TCPFin, b.TCPFin), other(a.UDP, b.UDP)}); t != (SetTimeouts{}) {
		changes = append(changes, t)
	}
	for i := range settings {
		t := &settings[i]
		if was, is := t.text(&old.Sysctl), t.text(&new.Sysctl); was != is {
			changes = append(changes, SetSysctl{t.name, is, was})
		}
	}
	if !sameSet(old.Routes, new.Routes, (*Route).id, (*Route).pairs) {
		changes = append(changes, SetRoutes{new.Routes, old.Routes})
	}
	if !sameSet(old.Neighbors, new.Neighbors, (*Neighbor).id, (*Neighbor).pairs) {
		changes = append(changes, SetNeighbors{new.Neighbors, old.Neighbors})
	}
	changes = append(changes, diffServices(old.Services, new.Services)...)
	same := func(a, b Mark) bool { return slices.Equal(a.pairs(), b.pairs()) }
	if !slices.EqualFunc(old.Marks, new.Marks, same) {
		changes = append(changes, SetMarks{new.Marks, old.Marks})
	}
	return changes
}

// other is b if it differs from a, else 0.
func other(a, b time.Duration) time.Duration {
	if a == b {
		return 0
	}
	return b
}

// sameSet compares two lists without regard to order.
func sameSet[T any](a, b []T, id func(*T) string, pairs func(*T) pairs) bool {
	return listEdits(a, b, id, pairs) == ""
}

// diffServices deletes first, so that names and addresses are free again, and adds
// last.
func diffServices(old, new []Service) (changes []Change) {
	was, is := byKey(old), byKey(new)
	for i := range old {
		if k := old[i].Key.canonical(); is[k] == nil {
			changes = append(changes, DelService{k})
		}
	}
	var added []Change
	for i := range new {
		s := canonicalOf(new[i])
		if o := was[s.Key]; o != nil {
			changes = append(changes, diffService(*o, s)...)
		} else {
			added = append(added, AddService{s})
		}
	}
	return append(changes, added...)
}

func byKey(services []Service) map[ServiceKey]*Service {
	m := make(map[ServiceKey]*Service, len(services))
	for i := range services {
		m[services[i].Key.canonical()] = &services[i]
	}
	return m
}

// DiffServers gives the changes that lead from one list of servers of a service to another,
// those first that take load. Where a server stands in the list is not compared.
func DiffServers(k ServiceKey, was, is []Server) []Change {
	return diffService(Service{Key: k, Servers: was}, canonicalOf(Service{Key: k, Servers: is}))
}

// diffService compares two services of one key; both are copies, the new one canonical.
func diffService(was, is Service) (changes []Change) {
	old := make(map[ServerID]Server, len(was.Servers))
	for _, d := range was.Servers {
		d.canonical()
		old[d.ID()] = d
	}
	var raised, added, checks []Change
	kept := make(map[ServerID]bool, len(is.Servers))
	for _, d := range is.Servers {
		o, both := old[d.ID()]
		kept[d.ID()] = true
		if both && !slices.Equal(o.Checks, d.Checks) {
			checks = append(checks, SetChecks{is.Key, d.ID(), d.Checks, o.Checks})
		}
		switch {
		case !both:
			added = append(added, AddServer{is.Key, d})
		case sameServer(&o, &d):
		case o.Weight < d.Weight:
			raised = append(raised, EditServer{is.Key, d, &o})
		default:
			changes = append(changes, EditServer{is.Key, d, &o})
		}
	}
	var gone []Change
	for i := range was.Servers {
		if id := was.Servers[i].ID(); !kept[id] {
			gone = append(gone, DelServer{is.Key, id})
		}
	}
	was.canonicalDefinition()
	was.Servers, is.Servers = nil, nil
	var edit []Change
	was.Health = was.Health.Clone()
	was.Health.canonical()
	var health []Change
	if !was.Health.Equal(is.Health) {
		health = append(health, SetHealth{is.Key, is.Health, was.Health})
	}
	was.Health, is.Health = nil, nil
	if !sameDefinition(&was, &is) {
		edit = append(edit, EditService{is, &was})
	}
	// Each change counts at once: what takes load comes before what gives it up, so that
	// clients never find a service without servers.
	return slices.Concat(edit, health, checks, raised, added, changes, gone)
}

// sameDefinition compares two canonical services without their servers and
// health.
func sameDefinition(a, b *Service) bool {
	return a.Name == b.Name && a.Scheduler == b.Scheduler && a.SchedFlags == b.SchedFlags &&
		a.OnePacket == b.OnePacket && a.Redispatch == b.Redispatch && a.Persistence == b.Persistence
}
