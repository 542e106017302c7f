#!/usr/bin/env node
// What onnxruntime computes from Lamina's exports, compared with what infer computed:
//
//   npm install --ignore-scripts --prefix DIR onnxruntime-node
//   export_sweep FOLDER layers [SEED]          (target onnx_export_sweep; also: small, large, foreign)
//   NODE_PATH=DIR/node_modules node sweep_onnxruntime.js FOLDER
//
// For every NAME.onnx there are inputs and results in NAME.safetensors. Prints the largest |a - b| / (1 + the largest
// |b|) and the relative L2 error of each, and fails when one is above the file's tolerance, or something is not finite.
const ort = require('onnxruntime-node');
const fs = require('fs');
const path = require('path');

function readSafetensors(file) {
  const bytes = fs.readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length));
  const metadata = header.__metadata__ || {};
  delete header.__metadata__;
  const tensors = {};
  for (const [name, {shape, data_offsets: [begin, end]}] of Object.entries(header)) {
    const copy = new Uint8Array(bytes.subarray(8 + length + begin, 8 + length + end));
    tensors[name] = {shape, data: new Float32Array(copy.buffer)};
  }
  return {tensors, metadata};
}

function compare(got, wanted) {
  if (String(got.dims) !== String(wanted.shape)) return {worst: Infinity, relative: Infinity};
  let worst = 0, largest = 0, squares = 0, total = 0;
  for (let i = 0; i < wanted.data.length; ++i) {
    const b = wanted.data[i], error = Math.abs(Number(got.data[i]) - b);
    if (!Number.isFinite(error)) return {worst: Infinity, relative: Infinity};
    worst = Math.max(worst, error);
    largest = Math.max(largest, Math.abs(b));
    squares += error * error;
    total += b * b;
  }
  return {worst: worst / (1 + largest), relative: squares === 0 ? 0 : Math.sqrt(squares / total)};
}

async function check(folder, file) {
  const {tensors, metadata} = readSafetensors(path.join(folder, file.replace(/\.onnx$/, '.safetensors')));
  const session = await ort.InferenceSession.create(path.join(folder, file), {logSeverityLevel: 3});
  const feeds = {};
  for (const input of session.inputMetadata) {
    const {shape, data} = tensors[input.name];
    feeds[input.name] = input.type === 'int64' ? new ort.Tensor('int64', BigInt64Array.from(data, (v) => BigInt(v)), shape)
                                               : new ort.Tensor('float32', data, shape);
  }
  const results = await session.run(feeds);
  let worst = 0, relative = 0;
  for (const name of session.outputNames) {
    const error = compare(results[name], tensors[name]);
    worst = Math.max(worst, error.worst);
    relative = Math.max(relative, error.relative);
  }
  await session.release();
  return {worst, relative, tolerance: Number(metadata.tolerance)};
}

(async () => {
  const folder = process.argv[2];
  const files = fs.readdirSync(folder).filter((file) => file.endsWith('.onnx')).sort();
  let failed = 0;
  for (const file of files) {
    let line;
    try {
      const {worst, relative, tolerance} = await check(folder, file);
      const good = worst <= tolerance && relative <= tolerance;
      failed += !good;
      line = `${worst.toExponential(2)}  ${relative.toExponential(2)}${good ? '' : '  DIFFERS'}`;
    } catch (error) {
      ++failed;
      line = `FAILED ${error.message || error}`;
    }
    console.log(`${file.slice(0, -5).padEnd(32)} ${line}`);
  }
  console.log(`${files.length} files, ${failed} failed`);
  process.exitCode = files.length > 0 && failed === 0 ? 0 : 1;
})();
