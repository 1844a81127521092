package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Client speaks to a running director.
type Client struct {
	path string
	http http.Client
}

// NewClient is a client of the director that serves the socket at path.
func NewClient(path string) *Client {
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		},
	}}}
}

// Get decodes the answer to GET path into v.
func (c *Client) Get(path string, v any) error { return c.do(http.MethodGet, path, v) }

// Reload makes the director read its file again, and with discard give up what commands
// changed.
func (c *Client) Reload(discard bool) (ReloadResult, error) {
	path := "/v1/reload"
	if discard {
		path += "?discard"
	}
	var r ReloadReply
	if err := c.do(http.MethodPost, path, &r); err != nil {
		return ReloadResult{}, err
	}
	if r.Error != "" {
		return ReloadResult{}, errors.New(r.Error)
	}
	return ReloadResult{Changes: r.Changes, Conflicts: r.Conflicts}, nil
}

// Stream copies the answer to GET path to w.
func (c *Client) Stream(path string, w io.Writer) error {
	resp, err := c.http.Get("http://director" + path)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("director at %s: %s", c.path, resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

func (c *Client) do(method, path string, v any) error {
	req, err := http.NewRequest(method, "http://director"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Errorf("director at %s: %s: not known to it", c.path, path)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("director at %s: %s: %w", c.path, path, err)
	}
	return nil
}

// explain says what a failed dial means.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no director runs at %s (another socket: --control or DIRIGO_CONTROL)", c.path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("control socket %s: permission denied", c.path)
	}
	return fmt.Errorf("director at %s: %w", c.path, err)
}
