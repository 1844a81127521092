package e2e

import (
	"fmt"
	"testing"
)

func TestSchedulers(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	start := func(t *testing.T, scheduler, more string, weights ...int) *cluster {
		on := *c
		on.t = t
		startDirector(t, c.director, c.config(1, c.web(scheduler, more, weights...)))
		return &on
	}
	t.Run("rr knows no weights", func(t *testing.T) {
		c := start(t, "rr", "", 1, 5)
		c.want("rr", fetch(c, c.client, 20, 1, c.url("/")), map[string]int{"s1": 10, "s2": 10})
	})
	t.Run("wrr goes by weight", func(t *testing.T) {
		c := start(t, "wrr", "", 3, 1)
		c.want("wrr", fetch(c, c.client, 20, 1, c.url("/")), map[string]int{"s1": 15, "s2": 5})
	})
	t.Run("wlc evens connections out by weight", func(t *testing.T) {
		c := start(t, "wlc", "", 1, 2)
		// Finished ones count too, 1/256 each, until their timeout of two minutes.
		got := fetch(c, c.client, 30, 1, c.url("/"))
		if n := got["s1"]; n < 9 || n > 11 {
			t.Errorf("wlc with weights 1 and 2: %v", got)
		}
	})
	t.Run("sh goes by the client's address", func(t *testing.T) {
		c := start(t, "sh", "", 1, 1)
		all := map[string]int{}
		for i := range 16 {
			from := fmt.Sprintf("198.18.0.%d", 20+i)
			c.client.IP("addr add " + from + "/24 dev c0")
			all[c.one(fetch(c, c.client, 4, 1, c.url("/"), "--interface", from))]++
		}
		if len(all) != 2 {
			t.Errorf("16 clients all went to %v", all)
		}
	})
}

// A persistent client stays with its server, also when that one is quiesced; others are
// scheduled.
func TestPersistence(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 2})
	c.client.IP("addr add 198.18.0.12/24 dev c0")
	persistent := "persistence = { timeout = \"1m\" }"
	d := startDirector(t, c.director, c.config(1, c.web("rr", persistent, 1, 1)))
	from := func(addr string) string {
		return c.one(fetch(c, c.client, 6, 1, c.url("/"), "--interface", addr))
	}
	first, second := from(clientIP), from(client2IP)
	if first == second {
		t.Errorf("two clients under rr both went to %s", first)
	}
	weights := map[string][]int{"s1": {0, 1}, "s2": {1, 0}}[first]
	d.reload(c.config(1, c.web("rr", persistent, weights...)))
	if now := from(clientIP); now != first {
		t.Errorf("after its server was quiesced the persistent client went from %s to %s", first, now)
	}
	if now := from("198.18.0.12"); now != second {
		t.Errorf("a new client went to %s, which is quiesced", now)
	}
}
