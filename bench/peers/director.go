package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/test/lab"
)

// readyTime bounds the start of anything.
const readyTime = 10 * time.Second

// director is the built director with a forwarding method, one worker and otherwise its
// defaults, but for lines of each port's.
func director(method, port string) func(*env, *network) *lab.Proc {
	return func(e *env, n *network) *lab.Proc {
		if method != "nat" {
			n.past()
		}
		if method == "dr" {
			n.realServer(e)
		}
		p, _ := startDirector(e, n, directorConfig(method, port, ""))
		return p
	}
}

// realServer prepares the server for the VIP.
func (n *network) realServer(e *env, more ...string) {
	args := append([]string{e.binary, "realserver", "--vip", vip.String(), "--interface", "s0", "--state", n.tb.TempDir()}, more...)
	p := n.server.Start(args...)
	lab.Until(n.tb, readyTime, func() (bool, string) {
		return strings.Contains(p.Out.String(), "ready"), "realserver: " + p.Out.String()
	})
}

// startDirector starts the director and waits for its control socket, which it returns.
func startDirector(e *env, n *network, config string) (p *lab.Proc, socket string) {
	return startProgram(e, n, []string{e.binary, "run"}, config)
}

// startProgram is startDirector for another program with the same control socket.
func startProgram(e *env, n *network, command []string, config string) (p *lab.Proc, socket string) {
	file := write(n.tb, "dirigo.toml", config)
	socket = filepath.Join(filepath.Dir(file), "control.sock")
	p = pinned(e, n, append(command, "-c", file)...)
	lab.Until(n.tb, readyTime, func() (bool, string) {
		if p.Ended() {
			n.tb.Fatalf("the director ended: %v: %s", p.Wait(time.Second), p.Out)
		}
		var s api.Status
		err := api.NewClient(socket).Get("/v1/status", &s)
		return err == nil, fmt.Sprint(err)
	})
	return p, socket
}

func directorConfig(method, port, more string) string {
	var b strings.Builder
	b.WriteString("[director]\nworkers = 1\ncontrol = \"DIR/control.sock\"\n" + more)
	for _, dev := range []string{"d0", "d1"} {
		fmt.Fprintf(&b, "[[port]]\nname = %q\n%s", dev, port)
	}
	for _, l := range []struct {
		proto string
		port  int
	}{{"udp", portSink}, {"udp", portEcho}, {"tcp", portEcho}, {"tcp", portHTTP}, {"tcp", portIperf}} {
		fmt.Fprintf(&b, "[[service]]\nlisten = \"%s/%v:%d\"\nscheduler = \"rr\"\nforward = %q\n[[service.server]]\naddress = \"%v:%d\"\n",
			l.proto, vip, l.port, method, serverIP, l.port)
	}
	return b.String()
}
