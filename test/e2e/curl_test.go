package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// fetch makes n requests by curl, each on a connection of its own, many at a time, and
// counts who answered. Any that fails fails the test.
func fetch(c *cluster, from *lab.NS, n, parallel int, url string, more ...string) map[string]int {
	c.t.Helper()
	count, err := tryFetch(from, n, parallel, url, more...)
	if err != nil {
		c.t.Fatalf("%v; answers so far: %v", err, count)
	}
	return count
}

func tryFetch(from *lab.NS, n, parallel int, url string, more ...string) (map[string]int, error) {
	args := []string{"curl", "-sS", "--max-time", "8", "-H", "Connection: close", "-w", "%{http_code}\n"}
	if parallel > 1 {
		args = append(args, "-Z", "--parallel-immediate", "--parallel-max", fmt.Sprint(parallel))
	}
	out, err := from.Run(append(append(args, more...), fmt.Sprintf("%s?[1-%d]", url, n))...)
	count := map[string]int{}
	good := 0
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line == "200" {
			good++
		} else {
			count[line]++
		}
	}
	if err == nil && good != n {
		err = fmt.Errorf("%d of %d answers were 200: %s", good, n, out)
	}
	return count, err
}

// want checks who answered how often.
func (c *cluster) want(what string, got, want map[string]int) {
	c.t.Helper()
	if !maps.Equal(got, want) {
		c.t.Errorf("%s: answers %v, want %v", what, got, want)
	}
}

// one returns the only server that answered.
func (c *cluster) one(got map[string]int) string {
	c.t.Helper()
	names := slices.Sorted(maps.Keys(got))
	if len(names) != 1 {
		c.t.Fatalf("answers came from %v, want one server", got)
	}
	return names[0]
}
