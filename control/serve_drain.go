package control

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/dirigo-lb/dirigo/control/api"
)

// serveDrain mounts the release of servers from their connections.
func (d *Director) serveDrain(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/drain", func(w http.ResponseWriter, _ *http.Request) { reply(w, d.draining()) })
	mux.HandleFunc("POST /v1/drain", func(w http.ResponseWriter, r *http.Request) {
		var in api.DrainRequest
		if err := body(r, &in); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		if in.Then != "" && in.Then != api.ThenKeep && in.Then != api.ThenReset {
			fail(w, http.StatusBadRequest, fmt.Errorf("then: %q; write %s or %s", in.Then, api.ThenKeep, api.ThenReset))
			return
		}
		out, err := d.drain(in.Server, in.Service, in.Then == api.ThenReset)
		drainReply(w, out, err)
	})
	mux.HandleFunc("POST /v1/undrain", func(w http.ResponseWriter, r *http.Request) {
		var in api.UndrainRequest
		if err := body(r, &in); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		out, err := d.undrain(in.Server, in.Service, in.Weight)
		drainReply(w, out, err)
	})
}

func drainReply(w http.ResponseWriter, out api.Drains, err error) {
	switch {
	case err == nil:
		reply(w, out)
	case errors.Is(err, errNotFound):
		fail(w, http.StatusNotFound, err)
	case errors.Is(err, errConflict):
		fail(w, http.StatusConflict, err)
	default:
		fail(w, http.StatusUnprocessableEntity, err)
	}
}
