package control

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/packet"
)

const deskTwo = deskWeb + `
[[service]]
name = "alt"
listen = "tcp/10.0.1.100:8000"
scheduler = "rr"
forward = "nat"
  [[service.server]]
  address = "10.0.2.11:8080"
  weight = 7
`

// weights are those of the running state, in order.
func (k *deskDirector) weights() (list []int) {
	for _, s := range k.plane.Services() {
		for i := range s.Servers {
			list = append(list, s.Servers[len(s.Servers)-1-i].Weight)
		}
	}
	return list
}

func (k *deskDirector) wantWeights(what, want string) {
	k.t.Helper()
	if got := fmt.Sprint(k.weights()); got != want {
		k.t.Errorf("%s: weights %s, want %s", what, got, want)
	}
}

func TestDrainAndUndrain(t *testing.T) {
	k := newDesk(t, deskTwo)
	drain := func(r api.DrainRequest) (d api.Drains, err error) { return d, k.client.Post("/v1/drain", r, &d) }
	undrain := func(r api.UndrainRequest) (d api.Drains, err error) { return d, k.client.Post("/v1/undrain", r, &d) }
	for range 2 { // a second time changes nothing, and loses no weight
		if d, err := drain(api.DrainRequest{Server: "10.0.2.11"}); err != nil || len(d.Drains) != 2 || *d.Drains[0].Weight != 3 || !d.Drains[1].Last || d.Drains[0].Last {
			t.Fatalf("drain: %+v, %v", d, err)
		}
	}
	k.wantWeights("by address", "[0 5 0]")
	if _, err := undrain(api.UndrainRequest{Server: "one"}); err != nil { // a name that one service has
		t.Error(err)
	}
	k.wantWeights("undrained by name", "[3 5 0]")
	if d, err := undrain(api.UndrainRequest{Server: "10.0.2.11:8080"}); err != nil || len(d.Drains) != 1 || *d.Drains[0].Weight != 7 {
		t.Errorf("undrain of the rest: %+v, %v", d, err)
	}
	if _, err := drain(api.DrainRequest{Server: "10.0.2.11", Service: "alt"}); err != nil {
		t.Error(err)
	}
	k.wantWeights("in one service", "[3 5 0]")
	weight := 4
	if _, err := undrain(api.UndrainRequest{Server: "10.0.2.11", Service: "tcp/10.0.1.100:8000", Weight: &weight}); err != nil {
		t.Error(err)
	}
	k.wantWeights("with a weight", "[3 5 4]")

	k.drains.list = nil // as after a restart
	if _, err := drain(api.DrainRequest{Server: "one"}); err != nil {
		t.Error(err)
	}
	k.drains.list = nil
	status := func(err error) int {
		if r := (*api.RefusedError)(nil); errors.As(err, &r) {
			return r.Status
		}
		return 0
	}
	if _, err := undrain(api.UndrainRequest{Server: "one"}); status(err) != 409 || !strings.Contains(err.Error(), "give a weight") {
		t.Errorf("undrain of an unknown weight: %v", err)
	}
	if _, err := undrain(api.UndrainRequest{Server: "10.0.2.12"}); status(err) != 409 {
		t.Errorf("undrain of one that is not drained: %v", err)
	}
	if _, err := drain(api.DrainRequest{Server: "nobody"}); status(err) != 404 {
		t.Errorf("drain of nobody: %v", err)
	}
	if _, err := drain(api.DrainRequest{Server: "one", Service: "nothing"}); status(err) != 404 {
		t.Errorf("drain in nothing: %v", err)
	}
	if _, err := drain(api.DrainRequest{Server: "one", Then: "x"}); status(err) != 400 {
		t.Errorf("drain, then x: %v", err)
	}
}

// What is left counts open connections only, and with then rst they are forgotten, also
// those whose packets keep coming.
func TestDrainCountsAndEnds(t *testing.T) {
	k := newDesk(t, deskTwo)
	for i := range uint16(3) {
		k.segment(5000+i, 8000, packet.SYN)
		k.segment(5000+i, 8000, packet.ACK)
	}
	k.segment(5000, 8000, packet.RST|packet.ACK) // CLOSE: finished
	var d api.Drains
	if err := k.client.Post("/v1/drain", api.DrainRequest{Server: "10.0.2.11", Service: "alt"}, &d); err != nil {
		t.Fatal(err)
	}
	if a := d.Drains[0]; a.Began != 2 || a.Left != 2 || a.Finished != 1 || a.Longest < 800 || a.Estimate != nil {
		t.Errorf("drain %+v", a)
	}
	k.segment(5001, 8000, packet.RST|packet.ACK)
	if err := k.client.Get("/v1/drain", &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Drains) != 1 || d.Drains[0].Left != 1 || d.Drains[0].Estimate == nil {
		t.Errorf("drain %+v", d.Drains)
	}
	if err := k.client.Post("/v1/drain", api.DrainRequest{Server: "10.0.2.11", Service: "alt", Then: api.ThenReset}, &d); err != nil || d.Ended != 3 {
		t.Errorf("%d ended, %v", d.Ended, err)
	}
	s := k.open("/v1/trace?count=1")
	k.segment(5002, 8000, packet.ACK) // at the same instant
	if list, _ := readTrace(t, s); len(list) != 1 || list[0].Reason != "no_connection" || list[0].Verdict != "taken" ||
		len(list[0].Sent) != 1 || fmt.Sprint(list[0].Sent[0].Packet.Flags) != "[RST]" {
		t.Errorf("a packet after the end: %+v", list)
	}
	k.now += 10 * time.Millisecond
	k.turn()
	if n := k.plane.Conns().Len(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	if s := k.plane.Services()[1].Servers[0]; s.Active != 0 || s.Inactive != 0 {
		t.Errorf("the server has %d active and %d inactive", s.Active, s.Inactive)
	}
}

// A server that has got a weight by another way is no longer drained.
func TestDrainEndsByWeight(t *testing.T) {
	k := newDesk(t, deskWeb)
	if err := k.client.Post("/v1/drain", api.DrainRequest{Server: "one"}, nil); err != nil {
		t.Fatal(err)
	}
	running := k.Running()
	key, s := running.Services[0].Key, api.ServerOf(&running.Services[0].Servers[0])
	s.Weight = 2
	if err := k.client.Post("/v1/changes", api.Changes{Changes: []api.Change{{Op: api.OpEditServer, Key: &key, Server: &s}}}, nil); err != nil {
		t.Fatal(err)
	}
	var d api.Drains
	if err := k.client.Get("/v1/drain", &d); err != nil || len(d.Drains) != 0 {
		t.Errorf("drains %+v, %v", d, err)
	}
}
