// Package bench measures the director: the pipeline in memory here, beside its peers on
// real frames in the command peers. Nothing that is shipped imports it.
package bench
