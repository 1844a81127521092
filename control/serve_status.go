package control

import (
	"net/http"

	"github.com/dirigo-lb/dirigo/control/api"
)

// serveStatus mounts what is only read.
func (d *Director) serveStatus(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, d.Status()) })
	mux.HandleFunc("GET /v1/info", func(w http.ResponseWriter, _ *http.Request) {
		i := d.info()
		reply(w, api.Info{TableRows: i.TableSize, Timeouts: api.Timeouts(i.Timeouts)})
	})
}
