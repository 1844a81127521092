package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// Two directors of one name share the guard's table: the second must be refused before
// it touches anything, ports included.
func TestNewIsRefusedFirstOfAllWhereAnotherServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	first, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	cfg := conf.Default()
	cfg.Director.Control = path
	cfg.Ports = []conf.Port{{Name: "no-such-port", Driver: conf.AFPacket}}
	_, err = New(cfg, Options{Path: "test.toml", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err == nil || !strings.Contains(err.Error(), "another director serves it") || strings.Contains(err.Error(), "no-such-port") {
		t.Errorf("New: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first one's socket: %v", err)
	} else {
		c.Close()
	}
}

// After an error nothing is left, the socket included.
func TestNewLeavesNoSocketAfterAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	cfg := conf.Default()
	cfg.Director.Control = path
	cfg.Ports = []conf.Port{{Name: "no-such-port", Driver: conf.AFPacket}}
	_, err := New(cfg, Options{Path: "test.toml", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err == nil || !strings.Contains(err.Error(), "no-such-port") {
		t.Errorf("New: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket: %v", err)
	}
}

// What answers under way read is taken down when serve has returned: it has to wait.
func TestServeWaitsForAnswersUnderWay(t *testing.T) {
	l, err := listen(filepath.Join(t.TempDir(), "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	plane, err := dataplane.New(dataplane.Config{MaxConnections: 16, Clock: func() time.Duration { return time.Hour }, Neighbors: arp.New(arp.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Conns().Close()
	d := &Director{cfg: conf.Default(), plane: plane}
	d.mu.Lock() // the answer waits for it
	ctx, cancel := context.WithCancel(t.Context())
	served, answered := make(chan error, 1), make(chan error, 1)
	go func() { served <- d.serve(ctx, l) }()
	go func() {
		var s api.Status
		answered <- api.NewClient(l.Addr().String()).Get("/v1/status", &s)
	}()
	for connected := false; !connected; { // until the request is in the handler
		buf := make([]byte, 1<<16)
		connected = strings.Contains(string(buf[:runtime.Stack(buf, true)]), "control.(*Director).Status(")
	}
	cancel()
	select {
	case err := <-served:
		t.Errorf("serve returned, %v, before the answer was given", err)
		served <- err
	case <-time.After(50 * time.Millisecond):
	}
	d.mu.Unlock()
	if err := <-answered; err != nil {
		t.Errorf("the answer: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}
