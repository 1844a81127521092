// Package metrics says a director's figures in Prometheus's text format: its own names,
// those of node_exporter's ipvs collector, and the Go runtime's. It reads what the data
// plane has counted when it is asked, so nothing is counted for its sake. It must not
// know HTTP or change anything.
//
// What there is a bounded number of goes through a registry (collector.go). Services and
// servers, of which there may be a hundred thousand, are written as they are read
// (services.go): a registry would hold each of their series as several objects.
package metrics
