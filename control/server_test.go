package control

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
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
