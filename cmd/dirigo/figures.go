package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dirigo-lb/dirigo/control/api"
)

// snapshot is what status and top show: the director and its services at one time.
type snapshot struct {
	Status   api.Status          `json:"status"`
	Services []api.ServiceStatus `json:"services"`
	Down     []api.ServiceHealth `json:"down,omitempty"` // services with servers that are not up by their health checks
}

// takeSnapshot asks a director.
func takeSnapshot(ctx context.Context, c *api.Client) (s snapshot, err error) {
	if err := c.Get("/v1/status", &s.Status); err != nil {
		return s, err
	}
	s.Services = []api.ServiceStatus{}
	for one, err := range api.Lines[api.ServiceStatus](ctx, c, "/v1/services") {
		if err != nil {
			return s, err
		}
		s.Services = append(s.Services, one)
	}
	if h := s.Status.Health; h == nil || h.ServersDown+h.ServicesDown == 0 {
		return s, nil
	}
	for one, err := range api.Lines[api.ServiceHealth](ctx, c, "/v1/health?down=true") {
		if err != nil {
			return s, err
		}
		s.Down = append(s.Down, one)
	}
	return s, nil
}

// states are those of the servers of a service that are not up: of those in its list by
// address, and the others, which were taken out.
func (s *snapshot) states(svc *api.ServiceStatus) (in map[netip.AddrPort]string, out []api.ServerHealth) {
	for i := range s.Down {
		if s.Down[i].Service != svc.Service.Service {
			continue
		}
		in = map[netip.AddrPort]string{}
		for _, d := range s.Down[i].Servers {
			if slices.ContainsFunc(svc.Servers, func(o api.ServerStatus) bool { return o.Address == d.Server }) {
				in[d.Server] = d.State
			} else {
				out = append(out, d)
			}
		}
	}
	return in, out
}

// healthText sums health up; "" if no server is checked.
func healthText(h *api.HealthCounts) string {
	if h == nil {
		return ""
	}
	text := fmt.Sprintf("%d servers, %d down", h.Servers, h.ServersDown)
	if h.Unchecked > 0 {
		text += fmt.Sprintf(", %d unchecked", h.Unchecked)
	}
	if h.ServicesDown > 0 {
		text += fmt.Sprintf("; %d of %d services without their quorum", h.ServicesDown, h.Services)
	}
	if h.Sorry > 0 {
		text += fmt.Sprintf("; sorry servers serve %d", h.Sorry)
	}
	return text
}

// short writes a number in at most five places: 99999, 1234k, 56M.
func short(n uint64) string {
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		if n < 10000 || unit == "" && n < 100000 {
			return strconv.FormatUint(n, 10) + unit
		}
		n /= 1000
	}
	return strconv.FormatUint(n, 10) + "P"
}

// since writes a time that has gone by: 3d04h, 2h05m, 7m30s, 12s.
func since(seconds float64) string {
	d := time.Duration(seconds) * time.Second
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h >= 24:
		return fmt.Sprintf("%dd%02dh", h/24, h%24)
	case h > 0:
		return fmt.Sprintf("%dh%02dm", h, m)
	case m > 0:
		return fmt.Sprintf("%dm%02ds", m, s)
	}
	return fmt.Sprintf("%ds", s)
}

// name is what a service is called.
func serviceName(s *api.ServiceStatus) string {
	if s.Name != "" {
		return s.Name
	}
	return s.Service.Service.String()
}

// serverName is what a server is called: its address, and behind it its name.
func serverName(s *api.ServerStatus) string {
	addr := s.Address.String()
	if s.Address.Port() == 0 {
		addr = s.Address.Addr().String()
	}
	if s.Name != "" {
		return addr + " " + s.Name
	}
	return addr
}

// fit is s in exactly n columns: cut, which shows, or filled up. Characters that would move
// a terminal's cursor become dots.
func fit(s string, n int) string {
	if n <= 0 {
		return ""
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '.'
		}
		if r >= 0x300 { // may be two columns wide, or none
			return '?'
		}
		return r
	}, s)
	if have := utf8.RuneCountInString(s); have <= n {
		return s + strings.Repeat(" ", n-have)
	}
	r := []rune(s)
	return string(r[:n-1]) + "~"
}
