package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control"
)

func runCommand() *cobra.Command {
	var file, logFormat, logLevel string
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run the director",
		Long: `Run the director that FILE describes, until SIGTERM or SIGINT. SIGHUP reads FILE again,
all or nothing. It needs root, or CAP_NET_RAW and CAP_NET_ADMIN.`,
		Example: "  dirigo run -c /etc/dirigo.toml",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&file, "config", "c", "/etc/dirigo.toml", "configuration file")
	cmd.Flags().StringVar(&logFormat, "log", "text", "log format on standard error: text or json")
	cmd.Flags().StringVar(&logLevel, "log-level", "info", "least level to log: debug, info, warn or error")
	socket := controlFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		log, err := logger(logFormat, logLevel)
		if err != nil {
			return err
		}
		cfg, err := conf.Load(file)
		if err != nil {
			return err
		}
		opt := control.Options{Path: file, Version: version, Log: log}
		if cmd.Flags().Changed("control") || os.Getenv("DIRIGO_CONTROL") != "" {
			if !strings.HasPrefix(*socket, "/") {
				return fmt.Errorf("--control %q: a director serves a socket; write an absolute path (DIRIGO_CONTROL may be set for other commands)", *socket)
			}
			opt.Control, cfg.Director.Control = *socket, *socket
		}
		for _, w := range conf.Warnings(cfg) {
			log.Warn("configuration", "file", file, "key", w.Key, "what", w.Msg)
		}
		return run(cfg, opt)
	}
	return cmd
}

// logLevels are the words of --log-level.
var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func logger(format, level string) (*slog.Logger, error) {
	least, ok := logLevels[level]
	if !ok {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	opt := &slog.HandlerOptions{Level: least}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opt)), nil
	}
	return nil, fmt.Errorf("--log %q: want text or json", format)
}

// run runs the director until a signal ends it.
func run(cfg *conf.Config, opt control.Options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	d, err := control.New(cfg, opt)
	if err != nil {
		return err
	}
	return d.Run(ctx, hup)
}
