package sched

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// service is a virtual service as a control plane keeps it: it does to servers what
// the Server and Scheduler contracts ask, and names servers by number.
type service struct {
	t testing.TB
	Scheduler
	servers map[int]*Server
}

func newService(t testing.TB, name string, f Flags, c Config) *service {
	t.Helper()
	s, err := c.New(name, f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &service{t: t, Scheduler: s, servers: make(map[int]*Server)}
}

// with adds servers 1, 2, 3… with the given weights, in that order.
func (v *service) with(weights ...int32) *service {
	for i, w := range weights {
		v.add(i+1, w)
	}
	return v
}

// server makes 10.0.0.id:80, configured, with a weight.
func server(id int, weight int32) *Server {
	s := &Server{Addr: packet.AddrFrom4([4]byte{10, 0, byte(id >> 8), byte(id)}), Port: 80}
	s.Weight.Store(weight)
	s.LastWeight.Store(weight)
	s.Available.Store(true)
	return s
}

func (v *service) add(id int, weight int32) { v.join(id, server(id, weight)) }

func (v *service) join(id int, s *Server) {
	v.servers[id] = s
	v.Add(s)
}

func (v *service) edit(id int, weight int32) {
	s := v.servers[id]
	s.Weight.Store(weight)
	if weight != 0 {
		s.LastWeight.Store(weight)
	}
	v.Edit(s)
}

func (v *service) del(id int) *Server {
	s := v.servers[id]
	delete(v.servers, id)
	s.Available.Store(false)
	v.Remove(s)
	return s
}

// id is the number of a server, -1 for none.
func (v *service) id(s *Server) int {
	if s == nil {
		return -1
	}
	for id, other := range v.servers {
		if s == other {
			return id
		}
	}
	v.t.Fatalf("picked a server that is not configured: %v port %d", s.Addr, s.Port)
	return 0
}

// request is a TCP SYN from src port sport to dst.
func request(src string, sport uint16, dst string) *Request {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	return &Request{
		Src: packet.AddrFrom(s), Dst: packet.AddrFrom(d),
		SrcPort: sport, Proto: packet.TCP, V6: s.Is6(),
	}
}

var anyone = request("192.0.2.1", 40000, "198.51.100.1")

// picks makes n decisions; after each, then is called with the server if not nil.
func (v *service) picks(n int, then func(*Server)) (ids []int) {
	for range n {
		s := v.Pick(anyone)
		ids = append(ids, v.id(s))
		if s != nil && then != nil {
			then(s)
		}
	}
	return ids
}

// activate makes a decision an active connection that never ends.
func activate(s *Server) { s.Active.Add(1) }

func (v *service) want(what string, got, want []int) {
	v.t.Helper()
	if !slices.Equal(got, want) {
		v.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
