package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dirigo-lb/dirigo/conf"
)

// outside is what of the director can be reached beside its socket, and what is counted
// of that.
type outside struct {
	metrics, api net.Listener // nil for none
	access       access       // to api
	refused      atomic.Uint64
	told         atomic.Int64 // when a refusal was last logged, Unix seconds
	reloadedOK   time.Time    // guarded by Director.mu; zero: at start
}

// open binds the listeners of cfg; nobody is served yet.
func (o *outside) open(cfg *conf.Config) (err error) {
	if a := cfg.Metrics.Listen; a.IsValid() {
		if o.metrics, err = net.Listen("tcp", a.String()); err != nil {
			return fmt.Errorf("metrics.listen: %w", err)
		}
	}
	if a := cfg.API.Listen; a.IsValid() {
		if o.access, err = readAccess(&cfg.API); err != nil {
			return err
		}
		if o.api, err = net.Listen("tcp", a.String()); err != nil {
			return fmt.Errorf("api.listen: %w", err)
		}
		if o.access.tls != nil {
			o.api = tls.NewListener(o.api, o.access.tls)
		}
	}
	return nil
}

// close takes down what open made. What serves it has closed it already.
func (o *outside) close() (err error) {
	for _, l := range []*net.Listener{&o.metrics, &o.api} {
		if *l == nil {
			continue
		}
		if e := (*l).Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
		*l = nil
	}
	return err
}

// serveOutside serves the listeners as parts of g.
func (d *Director) serveOutside(ctx context.Context, g *errgroup.Group) {
	if l := d.outside.metrics; l != nil {
		d.log.Info("metrics are served", "address", l.Addr().String())
		g.Go(func() error { return d.serveOn(ctx, l, "metrics", d.figures()) })
	}
	if l := d.outside.api; l != nil {
		d.log.Info("api is served", "address", l.Addr().String(), "tls", d.outside.access.tls != nil, "token", d.outside.access.token != nil)
		g.Go(func() error { return d.serveOn(ctx, l, "api", d.admit(&d.outside.access, d.routes())) })
	}
}

// serveOn answers requests on a listener until ctx ends.
func (d *Director) serveOn(ctx context.Context, l net.Listener, what string, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 16,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	if d.log != nil { // clients whose TLS does not fit, above all
		srv.ErrorLog = slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		// Answers under way read what is taken down next.
		patience, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(patience) != nil {
			srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", what, err)
	}
	<-ended
	return nil
}
