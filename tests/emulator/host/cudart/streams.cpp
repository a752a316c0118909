// Of the functions of libcudart.so.13, those that TVM's CUDA runtime calls: streams, events, graphs. All work is done before a
// call returns, so that there is nothing to wait for.
#include <time.h>

#include "runtime.h"

namespace {

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

}  // namespace

extern "C" {

// Streams and events

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return *stream = new CUstream_st, cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return delete stream, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return outside_of_capture() ? cudaSuccess : not_in_capture(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

cudaError_t cudaEventCreate(cudaEvent_t* event) { return *event = new CUevent_st, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return outside_of_capture() ? cudaSuccess : not_in_capture(); }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream && stream->captured) return cudaSuccess;  // orders work within the graph, which is in order anyway
  event->seconds = now();
  return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  if (flags != cudaEventRecordExternal) return cudaEventRecord(event, stream);
  submit(stream, [=] { return event->seconds = now(), true; });  // at each launch of the graph, if the stream captures
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (start->seconds < 0 || end->seconds < 0) return refuse(cudaErrorInvalidResourceHandle, "an event that was not recorded");
  *milliseconds = float((end->seconds - start->seconds) * 1e3);
  return cudaSuccess;
}

// Graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream || capturing) return refuse(cudaErrorStreamCaptureUnsupported, "capture of the default stream, or of two at once");
  stream->captured = new CUgraph_st;
  stream->invalidated = false;
  capturing = stream;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream || !stream->captured) return refuse(cudaErrorIllegalState, "the stream does not capture");
  *graph = stream->captured;
  stream->captured = nullptr;
  capturing = nullptr;
  if (!stream->invalidated) return cudaSuccess;
  delete *graph;
  *graph = nullptr;
  return refuse(cudaErrorStreamCaptureInvalidated, "something happened while the stream captured that a capture forbids");
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const Work& work : executable->work) {
    Submitted how = submit(stream, work);
    if (how != Submitted::done) return result(how == Submitted::failed ? cudaErrorLaunchFailure : cudaErrorStreamCaptureImplicit);
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return delete executable, cudaSuccess; }
}
