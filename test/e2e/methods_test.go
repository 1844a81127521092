package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// Weights 1, 2, 3 under wrr: six connections give each server its weight, exactly.
func TestMethods(t *testing.T) {
	for _, s := range []shape{
		{method: "nat", arms: 2, servers: 3}, {method: "nat", arms: 1, servers: 3},
		{method: "dr", arms: 2, servers: 3}, {method: "dr", arms: 1, servers: 3},
		{method: "tun", arms: 2, servers: 3}, {method: "tun", arms: 1, servers: 3},
		{method: "nat", arms: 2, servers: 3, v6: true}, {method: "nat", arms: 1, servers: 3, v6: true},
		{method: "dr", arms: 2, servers: 3, v6: true}, {method: "dr", arms: 1, servers: 3, v6: true},
		{method: "tun", arms: 2, servers: 3, v6: true}, {method: "tun", arms: 1, servers: 3, v6: true},
		{method: "nat", arms: 2, servers: 3, mode: "batch"},
		{method: "nat", arms: 2, servers: 3, mode: "blocks"}, {method: "tun", arms: 1, servers: 3, mode: "blocks"},
	} {
		t.Run(s.String(), func(t *testing.T) {
			c := newCluster(t, s)
			d := startDirector(t, c.director, c.config(1, c.web("wrr", "", 1, 2, 3)))
			c.want("60 requests", fetch(c, c.client, 60, 1, c.url("/")), map[string]int{"s1": 10, "s2": 20, "s3": 30})
			// The server sees the client's own address with every method.
			client := " " + c.ip(clientIP) + " 80"
			seen := fetch(c, c.client, 6, 1, c.url("/who"), "--interface", c.ip(clientIP))
			c.want("clients seen", seen, map[string]int{"s1" + client: 1, "s2" + client: 2, "s3" + client: 3})
			if s.method != "nat" || s.arms == 2 {
				// A client in the VIP's own network: it asks for the VIP itself.
				c.want("from the router", fetch(c, c.router, 6, 1, c.url("/")), map[string]int{"s1": 1, "s2": 2, "s3": 3})
			}
			c.download(8 * mib)
			c.upload(8 * mib)
			d.waitReason(map[string]string{"nat": "forward_nat", "dr": "forward_dr", "tun": "forward_tunnel"}[s.method], 66*4)
		})
	}
}

// The director's link goes down and comes up again, as when a cable is pulled: it goes
// on by itself, routes that the host lost and got back included.
func TestLinkDownAndUp(t *testing.T) {
	for _, mode := range []string{"ring", "batch", "blocks"} {
		t.Run(mode, func(t *testing.T) { linkDownAndUp(t, mode) })
	}
}

func linkDownAndUp(t *testing.T, mode string) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2, mode: mode})
	d := startDirector(t, c.director, c.config(2, c.web("rr", "", 1, 1)))
	fetch(c, c.client, 4, 1, c.url("/"))
	for _, dev := range []string{"out", "in"} {
		c.director.IP("link set " + dev + " down")
		if got, err := tryFetch(c.client, 1, 1, c.url("/"), "--connect-timeout", "0.3"); err == nil {
			t.Errorf("with %s down there is an answer: %v", dev, got)
		}
		c.director.IP("link set " + dev + " up")
		if dev == "out" {
			c.director.IP(c.via(outsideGW))
		}
		lab.Until(t, 5*time.Second, func() (bool, string) {
			_, err := tryFetch(c.client, 2, 1, c.url("/"), "--connect-timeout", "0.3")
			return err == nil, dev + " is up again: " + fmt.Sprint(err)
		})
	}
	if d.Ended() {
		t.Error("the director has ended")
	}
	c.want("afterwards", fetch(c, c.client, 100, 10, c.url("/")), map[string]int{"s1": 50, "s2": 50})
}
