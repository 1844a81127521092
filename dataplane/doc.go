// Package dataplane is the director's forwarding path: ports and their drivers, the
// workers, the pipeline that turns one frame into one verdict with one reason, the
// compiled tables it reads, and the counters it writes. It must not know files, the
// command line, health checks, HTTP or logging.
package dataplane
