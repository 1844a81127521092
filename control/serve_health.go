package control

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/health"
)

// serveHealth mounts what is known of the health of servers.
func (d *Director) serveHealth(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/health", d.healthList)
	mux.HandleFunc("GET /v1/health/history", d.healthHistory)
	mux.HandleFunc("POST /v1/health/check", d.healthCheck)
}

// healthWords are those of a query for health, and for its history.
var (
	healthWords  = []string{"service", "server", "down"}
	historyWords = []string{"service", "server", "since", "last", "kind"}
)

// onlyWords refuses a query with a word that nobody reads.
func onlyWords(q url.Values, words []string) error {
	for name := range q {
		if !slices.Contains(words, name) {
			return fmt.Errorf("%s: there is no such word; %s can be asked for", name, strings.Join(words, ", "))
		}
	}
	return nil
}

// healthList streams the services with health checks, one a line, in the order they were
// added: all, or those and of those the servers that are asked for.
func (d *Director) healthList(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if err := onlyWords(q, healthWords); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	c, err := d.choose(q.Get("server"), q.Get("service"))
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	if text := q.Get("down"); text != "" {
		if c.down, err = strconv.ParseBool(text); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("down: %q is neither true nor false", text))
			return
		}
	}
	out := newStream(w, r)
	d.eachHealth(c, func(s *api.ServiceHealth) bool { return out.put(s) })
}

// chosen is which services and servers are asked for.
type chosen struct {
	service *conf.ServiceKey // nil: all
	is      func(*conf.Server) bool
	server  bool // one is named
	down    bool // only what is
}

// choose reads what is asked for. That a server is named which no service with health
// checks has is an error.
func (d *Director) choose(server, service string) (c chosen, err error) {
	c.is = func(*conf.Server) bool { return true }
	if service != "" {
		k, err := d.serviceNamed(service)
		if err != nil {
			return c, err
		}
		c.service = &k
	}
	if server == "" {
		return c, nil
	}
	c.is, c.server = serverNamed(server), true
	d.mu.Lock()
	defer d.mu.Unlock()
	known := false
	for s := range d.state.Services() {
		if c.service != nil && s.Key != *c.service {
			continue
		}
		for i := range s.Servers {
			if c.is(&s.Servers[i]) {
				if s.Health != nil {
					return c, nil
				}
				known = true
			}
		}
	}
	if known {
		return c, fmt.Errorf("server %q has no health checks", server)
	}
	return c, noServer(server)
}

// eachHealth calls f for each service with health checks that is asked for, until it
// returns false. f may take its time.
func (d *Director) eachHealth(c chosen, f func(*api.ServiceHealth) bool) {
	var keys []conf.ServiceKey
	d.mu.Lock()
	for s := range d.state.Services() {
		if s.Health != nil && (c.service == nil || s.Key == *c.service) {
			keys = append(keys, s.Key)
		}
	}
	d.mu.Unlock()
	drained := d.drained()
	for _, k := range keys {
		d.mu.Lock()
		p := d.state.Service(k)
		var s conf.Service
		if p != nil {
			s = p.Clone()
		}
		d.mu.Unlock()
		if p == nil || s.Health == nil { // removed meanwhile
			continue
		}
		h, ok := d.serviceHealth(&s, c, drained)
		if ok && !f(&h) {
			return
		}
	}
}

// healthHistory lists events, the oldest first.
func (d *Director) healthHistory(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f, is, err := d.historyFilter(q)
	if err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, conf.ErrNoService) {
			status = http.StatusNotFound
		}
		fail(w, status, err)
		return
	}
	last := f.Last
	if is != nil {
		f.Last = 0
	}
	out := api.HealthEvents{Events: []api.HealthEvent{}}
	for _, e := range d.health.monitor.History(f) {
		if is == nil || !e.OfService && is(&conf.Server{Name: e.ServerName, Addr: e.ID.Server.Addr, Port: e.ID.Server.Port}) {
			out.Events = append(out.Events, healthEvent(&e))
		}
	}
	if n := len(out.Events); last > 0 && n > last {
		out.Events = out.Events[n-last:]
	}
	reply(w, out)
}

// historyFilter reads a query. is judges the servers; nil for none named.
func (d *Director) historyFilter(q url.Values) (f health.Filter, is func(*conf.Server) bool, err error) {
	if err := onlyWords(q, historyWords); err != nil {
		return f, nil, err
	}
	if name := q.Get("service"); name != "" {
		k, err := d.serviceNamed(name)
		if err != nil { // one that is gone has a history too
			if k, err = conf.ParseServiceKey(name); err != nil {
				return f, nil, fmt.Errorf("no service %q: %w", name, conf.ErrNoService)
			}
		}
		f.Service = &k
	}
	if name := q.Get("server"); name != "" {
		is = serverNamed(name)
	}
	if text := q.Get("since"); text != "" {
		if f.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return f, nil, fmt.Errorf("since: %q is no time like 2026-01-31T12:00:00Z", text)
		}
	}
	if text := q.Get("last"); text != "" {
		if f.Last, err = strconv.Atoi(text); err != nil || f.Last < 1 {
			return f, nil, fmt.Errorf("last: %q is no number above 0", text)
		}
	}
	if f.Kind = q.Get("kind"); f.Kind != "" && !slices.Contains(health.Kinds, f.Kind) {
		return f, nil, fmt.Errorf("kind: there is no %q; %s can be asked for", f.Kind, strings.Join(health.Kinds, ", "))
	}
	return f, is, nil
}

// healthCheck asks a server out of turn and answers with what came of it.
func (d *Director) healthCheck(w http.ResponseWriter, r *http.Request) {
	var in api.HealthCheckRequest
	if err := body(r, &in); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if in.Server == "" {
		fail(w, http.StatusBadRequest, errors.New("request: no server is named"))
		return
	}
	c, err := d.choose(in.Server, in.Service)
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	var ids []health.ID
	d.eachHealth(c, func(s *api.ServiceHealth) bool {
		for i := range s.Servers {
			a := s.Servers[i].Server
			ids = append(ids, health.ID{Service: s.Service, Server: conf.ServerID{Addr: a.Addr(), Port: a.Port()}})
		}
		return true
	})
	var asking sync.WaitGroup
	for _, id := range ids { // their answers are read next; one that has gone has none
		asking.Go(func() { d.health.monitor.Probe(r.Context(), id) })
	}
	asking.Wait()
	out := api.HealthAnswers{Services: []api.ServiceHealth{}}
	d.eachHealth(c, func(s *api.ServiceHealth) bool {
		out.Services = append(out.Services, *s)
		return true
	})
	reply(w, out)
}
