package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Headers of answers that go on until somebody ends them.
const (
	HeaderStream  = "Dirigo-Stream"  // its number, for POST /v1/streams/{number}/end
	HeaderDropped = "Dirigo-Dropped" // trailer: what was left out as the reader was slow
)

// Stream is an answer that goes on: a trace or a capture.
type Stream struct {
	io.Reader // ends when the director has ended it
	client    *Client
	resp      *http.Response
}

// Open begins the stream of GET path; the director has begun it when Open returns. It is
// broken off when ctx ends.
func (c *Client) Open(ctx context.Context, path string) (*Stream, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return &Stream{Reader: resp.Body, client: c, resp: resp}, nil
}

// End asks the director to end the stream. What was on its way still comes, and what the
// director has to say of the whole.
func (s *Stream) End() error {
	return s.client.Post(fmt.Sprintf("/v1/streams/%s/end", s.resp.Header.Get(HeaderStream)), nil, nil)
}

// Dropped is how much was left out because the reader was slow, after all has been read.
func (s *Stream) Dropped() (n uint64) {
	n, _ = strconv.ParseUint(s.resp.Trailer.Get(HeaderDropped), 10, 64)
	return n
}

// Close gives the connection up.
func (s *Stream) Close() error { return s.resp.Body.Close() }
