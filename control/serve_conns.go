package control

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/dirigo-lb/dirigo/dataplane"
)

// serveConns mounts the connection table.
func (d *Director) serveConns(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/connections", d.connections)
}

// connections streams one connection a line; the table is never in memory as a whole.
// The query narrows it: client, virtual and server are an address, a network or an
// address with a port; state is a state's name; templates is only or no; limit is how
// many at most.
func (d *Director) connections(w http.ResponseWriter, r *http.Request) {
	keep, limit, err := connFilter(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	out := newStream(w, r)
	d.plane.EachConn(func(c dataplane.Conn) bool {
		if !keep(&c) {
			return true
		}
		if limit--; limit < 0 {
			return false
		}
		return out.put(connection(&c))
	})
}

// connFilter reads the query of a request for connections.
func connFilter(r *http.Request) (keep func(*dataplane.Conn) bool, limit int, err error) {
	var tests []func(*dataplane.Conn) bool
	limit = int(^uint(0) >> 1)
	for name, values := range r.URL.Query() {
		value := values[len(values)-1]
		switch name {
		case "client", "virtual", "server":
			end, err := parseEnd(value)
			if err != nil {
				return nil, 0, fmt.Errorf("%s: %w", name, err)
			}
			of := map[string]func(*dataplane.Conn) netip.AddrPort{
				"client":  func(c *dataplane.Conn) netip.AddrPort { return c.Client },
				"virtual": func(c *dataplane.Conn) netip.AddrPort { return c.Virtual },
				"server":  func(c *dataplane.Conn) netip.AddrPort { return c.Dest },
			}[name]
			tests = append(tests, func(c *dataplane.Conn) bool { return end(of(c)) })
		case "state":
			tests = append(tests, func(c *dataplane.Conn) bool { return c.State == value })
		case "templates":
			if value != "only" && value != "no" {
				return nil, 0, fmt.Errorf("templates: %q; write only or no", value)
			}
			tests = append(tests, func(c *dataplane.Conn) bool { return c.Template == (value == "only") })
		case "limit":
			if limit, err = strconv.Atoi(value); err != nil || limit < 0 {
				return nil, 0, fmt.Errorf("limit: %q is not a number from 0 on", value)
			}
		default:
			return nil, 0, fmt.Errorf("%s: connections have no such thing; client, virtual, server, state, templates and limit can be asked for", name)
		}
	}
	return func(c *dataplane.Conn) bool {
		return !slices.ContainsFunc(tests, func(t func(*dataplane.Conn) bool) bool { return !t(c) })
	}, limit, nil
}

// parseEnd reads an address, a network, or an address with a port.
func parseEnd(s string) (func(netip.AddrPort) bool, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return func(a netip.AddrPort) bool { return p.Contains(a.Addr()) }, nil
	}
	if one, err := netip.ParseAddr(s); err == nil {
		return func(a netip.AddrPort) bool { return a.Addr() == one }, nil
	}
	one, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no address, network or address with a port", s)
	}
	return func(a netip.AddrPort) bool { return a == one }, nil
}
