package spy

import "sync"

// Together calls f(0) … f(n-1) at once and returns what they return.
func Together[T any](n int, f func(i int) T) []T {
	results, start := make([]T, n), make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			results[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return results
}
