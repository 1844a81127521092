package e2e

import (
	"fmt"
	"testing"
)

// The two directions of a NAT connection have other addresses and so other hashes: with
// several workers they mostly meet different ones. Nothing may get lost of many
// connections at a time, on links with several queues.
func TestWorkersShareConnections(t *testing.T) {
	for _, workers := range []int{1, 4} {
		for _, method := range []string{"nat", "tun"} {
			t.Run(fmt.Sprintf("%s/workers=%d", method, workers), func(t *testing.T) {
				c := newCluster(t, shape{method: method, arms: 2, servers: 2, queues: 4})
				d := startDirector(t, c.director, c.config(workers, c.web("rr", "", 1, 1)))
				got := fetch(c, c.client, 2000, 200, c.url("/"))
				c.want("2000 requests, 200 at a time", got, map[string]int{"s1": 1000, "s2": 1000})
				s, err := d.status()
				if err != nil || s.Workers != workers {
					t.Errorf("status: %d workers, %v; want %d", s.Workers, err, workers)
				}
				for _, r := range []string{"transmit_failed", "no_connection"} {
					if s.Reasons[r] != 0 {
						t.Errorf("%d frames ended as %s", s.Reasons[r], r)
					}
				}
				for _, p := range s.Ports {
					if p.Lost+p.Dropped != 0 {
						t.Errorf("port %s: %d frames lost, %d dropped", p.Name, p.Lost, p.Dropped)
					}
				}
			})
		}
	}
}
