package control

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/dirigo-lb/dirigo/control/api"
)

// streams are the answers that go on until somebody ends them: the client by going away,
// or, to hear the end of it, by another request.
type streams struct {
	mu   sync.Mutex
	last int
	end  map[int]context.CancelFunc
}

// begin begins an answer. Its context ends with the request, after duration (0: never),
// or by request; done has to be called after that.
func (s *streams) begin(w http.ResponseWriter, r *http.Request, kind string, duration time.Duration) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(r.Context())
	if duration > 0 {
		ctx, cancel = context.WithTimeout(r.Context(), duration)
	}
	s.mu.Lock()
	if s.end == nil {
		s.end = map[int]context.CancelFunc{}
	}
	s.last++
	id := s.last
	s.end[id] = cancel
	s.mu.Unlock()
	w.Header().Set("Content-Type", kind)
	w.Header().Set(api.HeaderStream, strconv.Itoa(id))
	w.Header().Set("Trailer", api.HeaderDropped)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // the reader knows now that it has begun
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.end, id)
	}
}

// serve mounts the request that ends a stream.
func (s *streams) serve(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/streams/{id}/end", func(w http.ResponseWriter, r *http.Request) {
		id, _ := strconv.Atoi(r.PathValue("id"))
		s.mu.Lock()
		end := s.end[id]
		s.mu.Unlock()
		if end == nil {
			fail(w, http.StatusNotFound, fmt.Errorf("stream %s: there is none of this number", r.PathValue("id")))
			return
		}
		end()
		w.WriteHeader(http.StatusNoContent)
	})
}
