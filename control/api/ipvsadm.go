package api

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// ControlPath is the control socket that commands speak to: the environment's
// DIRIGO_CONTROL, or the default.
func ControlPath() string {
	if path := os.Getenv("DIRIGO_CONTROL"); path != "" {
		return path
	}
	return conf.DefaultControl
}

// Ipvsadm runs ipvsadm(8) with the process's streams against the director at
// ControlPath, and returns the exit code. An interrupt ends a listing.
func Ipvsadm(argv []string) (exit int) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	names := &ipvsadm.System{}
	return ipvsadm.Run(argv, ipvsadm.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		ipvsadm.Env{Names: names, Namer: names}, &Backend{Context: ctx, Client: NewClient(ControlPath())})
}
