package via

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/health"
)

// Ports are the source ports of all connections: outside the range from which Linux takes
// the ports of other connections (net.ipv4.ip_local_port_range, 32768 to 60999), where
// its masquerading once had its own. An overlap costs the others a detour and nothing else.
var Ports = conf.PortRange{First: 61000, Last: 65095}

// Plane is the data plane as this package uses it.
type Plane interface {
	Pin(k conf.ServiceKey, port uint16, c *conf.Server, client netip.AddrPort) (dataplane.Pin, error)
	Unpin(dataplane.Pin)
	Serves(netip.Addr) bool
}

// Via makes connections. Its methods are safe for concurrent use, and none waits for a
// connection.
type Via struct {
	plane  Plane
	device string // the TUN; "" for none
	turn   atomic.Uint32

	mu      sync.RWMutex
	ready   bool                                              // the host lets answers come back
	servers map[conf.ServiceKey]map[conf.ServerID]conf.Server // those that are asked this way
	place   Place
	sources map[ends]origin // what source has said of this place
}

type ends struct {
	vip, server netip.Addr
	method      conf.Forward
}

// New makes a Via whose sockets use the TUN device of that name, which leads from the
// director to the host. Without one ("") every connection is refused.
func New(plane Plane, device string) *Via {
	return &Via{plane: plane, device: device, servers: map[conf.ServiceKey]map[conf.ServerID]conf.Server{}}
}

// Update is told of the desired services that have changed, whatever of them is in force,
// and of those that are gone. From then on nothing is asked until Ready.
func (v *Via) Update(set []conf.Service, gone []conf.ServiceKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ready = false
	for _, k := range gone {
		v.drop(k)
	}
	for i := range set {
		s := &set[i]
		v.drop(s.Key)
		if asked := askedServers(s); len(asked) > 0 {
			v.servers[s.Key] = asked
		}
	}
}

// Ready is told that host, workers and guard are as the services of the last Update need
// them: a probe before that would find fault with servers that are well.
func (v *Via) Ready() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ready = true
}

func (v *Via) drop(k conf.ServiceKey) {
	for _, d := range v.servers[k] {
		delete(v.sources, ends{k.Addr, d.Addr, d.Forward})
	}
	delete(v.servers, k)
}

// askedServers are the servers of a service that have a check which goes by the service.
func askedServers(s *conf.Service) map[conf.ServerID]conf.Server {
	if s.Health == nil {
		return nil
	}
	var asked map[conf.ServerID]conf.Server
	for i := range s.Servers {
		d := &s.Servers[i]
		checks := d.Checks
		if checks == nil {
			checks = s.Health.Checks
		}
		for j := range checks {
			if checks[j].Probe.Via == conf.ViaService {
				if asked == nil {
					asked = map[conf.ServerID]conf.Server{}
				}
				asked[d.ID()] = *d
				break
			}
		}
	}
	return asked
}

// Used reports whether any server is asked this way, by family of the service's address.
func (v *Via) Used() (v4, v6 bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for k := range v.servers {
		if k.Addr.Is6() {
			v6 = true
		} else {
			v4 = true
		}
		if v4 && v6 {
			break
		}
	}
	return v4, v6
}

// Move is told of a new place: other ports, addresses or routes.
func (v *Via) Move(p Place) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.place, v.sources = p, nil
}

// To is a dialer to one server of a service. Nothing is looked up before Dial: the server
// may be another by then.
func (v *Via) To(t health.Target) Dialer {
	return Dialer{v, t.Service, t.Server}
}

// find is the server as it is desired now, and the address to ask it from.
func (v *Via) find(k conf.ServiceKey, id conf.ServerID) (d conf.Server, from origin, known bool) {
	v.mu.RLock()
	d, known = v.servers[k][id]
	e := ends{k.Addr, d.Addr, d.Forward}
	from, found := v.sources[e]
	ready := v.ready
	v.mu.RUnlock()
	if known && !ready {
		return d, refused("not ready yet: the way through the service is being made"), true
	}
	if !known || found {
		return d, from, known
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sources == nil {
		v.sources = map[ends]origin{}
	}
	from = v.place.source(e, v.plane.Serves)
	v.sources[e] = from
	return d, from, true
}
