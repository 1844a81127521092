package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Client speaks to a running director.
type Client struct {
	path   string // of its socket, or its address
	base   string // what stands before a request's path
	header http.Header
	broken error // why no request can be made
	http   http.Client
}

// NewClient is a client of the director that serves the socket at path, or, if path is an
// address like https://192.0.2.1:9443, of the one there.
func NewClient(path string) *Client {
	if isAddress(path) {
		return remote(path)
	}
	return &Client{path: path, base: "http://director", http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		},
	}}}
}

// ErrUnreachable says that no director answered.
var ErrUnreachable = errors.New("no director answers")

// Get decodes the answer to GET path into v.
func (c *Client) Get(path string, v any) error { return c.Do(http.MethodGet, path, nil, v) }

// Put sends body as JSON and decodes the answer into v.
func (c *Client) Put(path string, body, v any) error { return c.Do(http.MethodPut, path, body, v) }

// Post sends body as JSON, nil for none, and decodes the answer into v, nil for nothing.
func (c *Client) Post(path string, body, v any) error {
	return c.Do(http.MethodPost, path, body, v)
}

// Do sends a request and decodes the answer. An answer that is not a success is an error
// with the director's words; v is decoded too then, if it is one that has them.
func (c *Client) Do(method, path string, body, v any) error {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	return c.exchange(method, path, in, v)
}

func (c *Client) exchange(method, path string, body io.Reader, v any) error {
	resp, err := c.send(context.Background(), method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if v == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("director at %s: %s: %w", c.path, path, err)
	}
	return nil
}

// Stream copies the answer to GET path to w.
func (c *Client) Stream(ctx context.Context, path string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

// Lines decodes the lines of the answer to GET path, one JSON value each, as they come.
// An error is the last thing given.
func Lines[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		resp, err := c.send(ctx, http.MethodGet, path, nil)
		if err != nil {
			yield(zero, err)
			return
		}
		defer resp.Body.Close()
		d := json.NewDecoder(bufio.NewReaderSize(resp.Body, 1<<16))
		for {
			var v T
			if err := d.Decode(&v); err != nil {
				if !errors.Is(err, io.EOF) {
					yield(zero, fmt.Errorf("director at %s: %s: %w", c.path, path, err))
				}
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// send sends a request; the answer is a success.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var p Problem
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(b, &p) == nil && p.Error != "" {
		return nil, &RefusedError{Status: resp.StatusCode, Problem: p, Body: b}
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("director at %s: %s: not known to it", c.path, path)
	}
	return nil, fmt.Errorf("director at %s: %s: %s", c.path, path, resp.Status)
}

// RefusedError is what a director answered instead of doing what it was asked for.
type RefusedError struct {
	Status int
	Problem
	Body []byte // the whole answer, JSON
}

func (e *RefusedError) Error() string { return e.Problem.Error }

// explain says what a failed dial means.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: no director runs at %s (another socket: DIRIGO_CONTROL, or --control of dirigo)", ErrUnreachable, c.path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: control socket %s: permission denied", ErrUnreachable, c.path)
	}
	return fmt.Errorf("director at %s: %w", c.path, err)
}
