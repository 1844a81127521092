package dataplane_test

import (
	"reflect"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A service read on its own, one after the other, or among all is the same.
func TestServicesAreTheSameHoweverRead(t *testing.T) {
	g := newRig(t, 1)
	var keys []conf.ServiceKey
	for port := range uint16(600) { // more than are read in one go
		keys = append(keys, g.serve(packet.TCP, port+1, "rr", server(rs1, port+1, conf.NAT), server(rs2, port+1, conf.DR)))
	}
	all := g.plane.Services()
	if len(all) != len(keys) {
		t.Fatalf("%d services, want %d", len(all), len(keys))
	}
	var each []dataplane.ServiceStatus
	g.plane.EachService(func(s *dataplane.ServiceStatus) bool {
		each = append(each, *s)
		return true
	})
	if !reflect.DeepEqual(each, all) {
		t.Errorf("one after the other: %d services, not those of the list of all", len(each))
	}
	for i, k := range keys {
		if s, ok := g.plane.Service(k); !ok || !reflect.DeepEqual(s, all[i]) {
			t.Errorf("%v: %+v, %v; want %+v", k, s, ok, all[i])
		}
	}
	if s, ok := g.plane.Service(conf.ServiceKey{Proto: packet.UDP, Addr: vip.Netip(), Port: 1}); ok {
		t.Errorf("no service: %+v", s)
	}
	n := 0
	g.plane.EachService(func(*dataplane.ServiceStatus) bool { n++; return n < 3 })
	if n != 3 {
		t.Errorf("told to stop at the third, it went on to %d", n)
	}
}
