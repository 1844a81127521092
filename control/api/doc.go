// Package api is the control API of a director: the JSON that goes over its socket, under
// /v1, and the client that speaks it. openapi.yaml in this folder describes it for
// others. It knows the desired state's words and ipvsadm's; it must not know how a
// director does what it is asked for.
package api
