// Package e2e runs the built director between real parties, in network namespaces:
// curl, a router, nginx as real servers, the kernel's own stack on every side.
//
// DIRIGO_E2E_RACE=1 builds the director with the race detector. DIRIGO_E2E_FULL=1
// moves a gigabyte in every transfer, lists 10,000 services and 1,000,000 connections, and
// asks 10,000 servers each second for two minutes.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// binary is the director under test, scratch a directory for what tests share.
var binary, scratch string

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err = errors.Join(err, lab.Sweep(true)); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (code int, err error) {
	if err := lab.Sweep(false); err != nil {
		return 1, fmt.Errorf("sweep what an earlier run left: %w", err)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-end
		fmt.Fprintln(os.Stderr, "e2e: interrupted:", lab.Sweep(true))
		os.Exit(1)
	}()
	for _, tool := range []string{"ip", "nginx", "vsftpd", "curl", "ethtool", "nft", "file", "ldirectord", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 1, fmt.Errorf("%w: see \"make tools\"", err)
		}
	}
	if scratch, err = lab.Dir(); err != nil {
		return 1, err
	}
	binary = filepath.Join(scratch, "dirigo")
	if err := lab.Build("dirigo", binary, os.Getenv("DIRIGO_E2E_RACE") == "1"); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
