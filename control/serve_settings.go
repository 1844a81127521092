package control

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
)

// serveSettings mounts the settings that commands change: timeouts and sysctls.
func (d *Director) serveSettings(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/timeouts", func(w http.ResponseWriter, _ *http.Request) { reply(w, d.timeouts()) })
	mux.HandleFunc("PUT /v1/timeouts", d.putTimeouts)
	mux.HandleFunc("GET /v1/sysctl", d.sysctls)
	mux.HandleFunc("GET /v1/sysctl/{name}", func(w http.ResponseWriter, r *http.Request) { d.sysctl(w, r.PathValue("name")) })
	mux.HandleFunc("PUT /v1/sysctl/{name}", d.putSysctl)
}

func (d *Director) timeouts() api.Timeouts { return api.Timeouts(d.info().Timeouts) }

// putTimeouts is ipvsadm --set: 0 leaves one as it is. The answer is what holds then.
func (d *Director) putTimeouts(w http.ResponseWriter, r *http.Request) {
	var in api.Timeouts
	if err := body(r, &in); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
	if d.changed(w, conf.SetTimeouts{TCP: sec(in.TCP), TCPFin: sec(in.TCPFin), UDP: sec(in.UDP)}) {
		reply(w, d.timeouts())
	}
}

// changed makes one change and reports whether it was made; if not, it has answered why.
func (d *Director) changed(w http.ResponseWriter, c conf.Change) bool {
	errs, err := d.Change([]conf.Change{c}, false)
	switch refused := errs[0]; {
	case errors.Is(refused, conf.ErrNoSysctl):
		fail(w, http.StatusNotFound, refused)
	case refused != nil:
		fail(w, http.StatusUnprocessableEntity, refused)
	case err != nil:
		fail(w, http.StatusConflict, err)
	default:
		return true
	}
	return false
}

// sysctls lists the net.ipv4.vs settings by name.
func (d *Director) sysctls(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	s := d.cfg.Sysctl
	d.mu.Unlock()
	var out api.Sysctls
	for _, name := range conf.SysctlNames() {
		value, err := s.Get(name)
		if err != nil {
			fail(w, http.StatusInternalServerError, fmt.Errorf("%s: %w", name, err))
			return
		}
		out.Settings = append(out.Settings, api.Sysctl{Name: name, Value: value, Warning: conf.NoEffect(name)})
	}
	reply(w, out)
}

// sysctl answers with one setting.
func (d *Director) sysctl(w http.ResponseWriter, name string) {
	d.mu.Lock()
	value, err := d.cfg.Sysctl.Get(name)
	d.mu.Unlock()
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	reply(w, api.Sysctl{Name: name, Value: value, Warning: conf.NoEffect(name)})
}

// putSysctl changes a setting, as sysctl -w does. One without effect is taken, with a
// warning.
func (d *Director) putSysctl(w http.ResponseWriter, r *http.Request) {
	var in api.SysctlValue
	if err := body(r, &in); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	name := r.PathValue("name")
	if d.changed(w, conf.SetSysctl{Name: name, Value: in.Value}) {
		d.sysctl(w, name)
	}
}
