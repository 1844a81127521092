package control

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/host"
)

// effect is what the steps of a list of changes mean outside the table of services.
type effect struct {
	came, gone []host.Piece
	removed    bool // a server or a service
	sysctl     bool
	timeouts   bool
	marks      bool
	routes     bool
	neighbors  bool
	unseen     bool // nothing but services that come, and servers of those: no packet meets them before the next table
}

func effectOf(steps []conf.Step) (e effect) {
	if len(steps) > 100 {
		e.came = make([]host.Piece, 0, len(steps)) // a restore: most of them come
	}
	fresh := map[conf.ServiceKey]bool{}
	e.unseen = true
	for i := range steps {
		s := &steps[i]
		switch c := s.Change.(type) {
		case conf.AddService:
			fresh[c.Service.Key] = true
		case conf.AddServer:
			e.unseen = e.unseen && fresh[c.Key]
		default:
			e.unseen = false
		}
		switch c := s.Change.(type) {
		case conf.AddService:
			e.came = appendPieces(e.came, &c.Service)
		case conf.DelService, conf.Clear:
			for i := range s.Services {
				e.gone = appendPieces(e.gone, &s.Services[i])
			}
			e.removed = true
		case conf.AddServer:
			e.came = append(e.came, host.PieceOf(c.Key, &c.Server))
		case conf.EditServer:
			if was, is := host.PieceOf(c.Key, s.Server), host.PieceOf(c.Key, &c.Server); was != is {
				e.came, e.gone = append(e.came, is), append(e.gone, was)
			}
		case conf.DelServer:
			e.gone = append(e.gone, host.PieceOf(c.Key, s.Server))
			e.removed = true
		case conf.SetHealth:
			e.came, e.gone = appendSorry(e.came, c.Key, c.Health), appendSorry(e.gone, c.Key, c.Was)
		case conf.SetSysctl:
			e.sysctl = true
		case conf.SetTimeouts:
			e.timeouts = true
		case conf.SetMarks:
			e.marks = true
		case conf.SetRoutes:
			e.routes = true
		case conf.SetNeighbors:
			e.neighbors = true
		}
	}
	return e
}

// appendPieces adds a service with its servers and its sorry server, whether they are in
// the list now or not: so a change of health does not have to wait for the host.
func appendPieces(list []host.Piece, s *conf.Service) []host.Piece {
	list = append(list, host.Piece{Key: s.Key})
	for i := range s.Servers {
		list = append(list, host.PieceOf(s.Key, &s.Servers[i]))
	}
	return appendSorry(list, s.Key, s.Health)
}

func appendSorry(list []host.Piece, k conf.ServiceKey, h *conf.Health) []host.Piece {
	for _, s := range sorryOf(h) {
		list = append(list, host.PieceOf(k, &s))
	}
	return list
}

// lingering are the pieces that removed servers with connections still need: answers of
// theirs, and packets to their VIP, are kept from the host until the connections end.
func (d *Director) lingering() map[host.Piece]bool {
	m := map[host.Piece]bool{}
	for _, s := range d.plane.Lingering() {
		for _, p := range appendPieces(nil, &s) {
			m[p] = true
		}
	}
	return m
}

// guardRules are the frames to keep from the host: those of the desired state, and
// answers of removed servers while they have connections.
func (d *Director) guardRules() host.Rules {
	r := host.Rules{Services: d.state.Snapshot().Services, Marks: d.state.Settings().Marks, LocalPorts: d.ownPorts()}
	for i := range r.Services {
		s := &r.Services[i]
		s.Servers = append(s.Servers, sorryOf(s.Health)...)
	}
	for p := range d.linger {
		r.Services = append(r.Services, serviceOf(&p))
	}
	return r
}

// letGo takes pieces back from the host's side, but for what lingers.
func (d *Director) letGo(gone []host.Piece) {
	var held []host.Piece
	for i := range gone {
		p := &gone[i]
		if !p.OfServer || !d.plane.Lingers(p.Key, p.Server) {
			continue
		}
		for _, q := range []host.Piece{*p, {Key: p.Key}} {
			if !d.linger[q] {
				d.linger[q] = true
				held = append(held, q)
			}
		}
	}
	d.hostPieces(held, gone)
}

// settleLingering follows the ends of connections, and their late beginnings: a worker may
// have had its server in hand when that was removed.
func (d *Director) settleLingering() {
	want := d.lingering()
	var came, gone []host.Piece
	for p := range want {
		if !d.linger[p] {
			came = append(came, p)
		}
	}
	for p := range d.linger {
		if !want[p] {
			gone = append(gone, p)
		}
	}
	d.linger = want
	if len(came)+len(gone) > 0 {
		d.hostPieces(came, gone)
	}
}

// hostPieces changes guard and policy rules. What fails is logged, and tried again by
// housekeep as it finds the guard's table gone.
func (d *Director) hostPieces(came, gone []host.Piece) {
	if d.guard != nil {
		if err := d.guard.Change(came, gone); err != nil {
			d.log.Error("guard", "err", err)
			d.updateHost()
			return
		}
	}
	changed := d.countLocal(came, 1)
	if d.countLocal(gone, -1) || changed {
		d.updateLocal()
	}
}

// countLocal counts the NAT servers whose answers have to be led into the TUN: those on
// the host itself, and where a TUN is the only way, all. It reports whether there are
// others than before.
func (d *Director) countLocal(pieces []host.Piece, by int) (changed bool) {
	if d.local == nil {
		return false
	}
	all := len(d.portNames(conf.AFPacket)) == 0
	for i := range pieces {
		p := &pieces[i]
		if !p.OfServer || p.Forward != conf.NAT && p.Forward != conf.Local || !all && !d.isLocal(p.Server.Addr) {
			continue
		}
		l := host.Server{Addr: p.Server.Addr, Proto: p.Key.Proto, Port: p.Server.Port}
		if l.Port == 0 || l.Proto == 0 {
			continue
		}
		was := d.locals[l]
		if d.locals[l] = was + by; was+by == 0 {
			delete(d.locals, l)
		}
		changed = changed || was == 0 || was+by == 0
	}
	return changed
}

// recountLocal counts them from nothing.
func (d *Director) recountLocal() {
	d.locals = map[host.Server]int{}
	for _, s := range d.state.Snapshot().Services {
		d.countLocal(appendPieces(nil, &s), 1)
	}
	d.countLocal(slices.Collect(maps.Keys(d.linger)), 1)
}

func (d *Director) updateLocal() {
	if err := d.local.Update(d.localServers()); err != nil {
		d.log.Error("policy rules for local servers", "err", err)
	}
}

func (d *Director) localServers() []host.Server { return slices.Collect(maps.Keys(d.locals)) }

func (d *Director) isLocal(a netip.Addr) bool {
	return a.IsLoopback() || slices.Contains(d.view.Local, a) ||
		slices.ContainsFunc(d.cfg.Routes, func(r conf.Route) bool { return r.Kind == conf.LocalRoute && r.Dest.Contains(a) })
}
