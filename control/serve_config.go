package control

import (
	"net/http"

	"github.com/dirigo-lb/dirigo/control/api"
)

// serveConfig mounts the running state as a file.
func (d *Director) serveConfig(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
		text := d.Running().TOML()
		w.Header().Set("Content-Type", "application/toml")
		_, _ = w.Write(text) // the client has gone
	})
	mux.HandleFunc("GET /v1/config/diff", func(w http.ResponseWriter, _ *http.Request) {
		diff, err := d.ConfigDiff()
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, err)
			return
		}
		reply(w, diff)
	})
	// Only the director's own file: who may write others may have GET /v1/config.
	mux.HandleFunc("POST /v1/config/save", func(w http.ResponseWriter, _ *http.Request) {
		if err := d.Save(""); err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		reply(w, api.Saved{File: d.opt.Path})
	})
}
