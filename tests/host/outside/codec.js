// Runs an uplink codec as network servers do: `node codec.js CODEC [node] < inputs`, a JSON array
// of decodeUplink's inputs; prints {syntax, node: [output…], quickjs: [output…]}, with "node" no
// quickjs.
"use strict";
const fs = require("fs");
const vm = require("vm");
const acorn = require("acorn");
const { newQuickJSWASMModuleFromVariant } = require("quickjs-emscripten-core");

// All that ECMAScript 5.1 section 15 has; the rest is taken out of the context.
const ES5 = {
  Object: ["create defineProperties defineProperty freeze getOwnPropertyDescriptor" +
    " getOwnPropertyNames getPrototypeOf isExtensible isFrozen isSealed keys preventExtensions seal",
    "constructor hasOwnProperty isPrototypeOf propertyIsEnumerable toLocaleString toString valueOf"],
  Function: ["", "apply bind call constructor toString"],
  Array: ["isArray", "concat constructor every filter forEach indexOf join lastIndexOf map pop push" +
    " reduce reduceRight reverse shift slice some sort splice toLocaleString toString unshift"],
  String: ["fromCharCode", "charAt charCodeAt concat constructor indexOf lastIndexOf localeCompare" +
    " match replace search slice split substr substring toLocaleLowerCase toLocaleUpperCase" +
    " toLowerCase toString toUpperCase trim valueOf"],
  Boolean: ["", "constructor toString valueOf"],
  Number: ["MAX_VALUE MIN_VALUE NEGATIVE_INFINITY NaN POSITIVE_INFINITY",
    "constructor toExponential toFixed toLocaleString toPrecision toString valueOf"],
  Date: ["UTC now parse", null],
  RegExp: ["", "constructor exec test toString"],
  Math: ["E LN10 LN2 LOG10E LOG2E PI SQRT1_2 SQRT2 abs acos asin atan atan2 ceil cos exp floor log" +
    " max min pow random round sin sqrt tan"],
  JSON: ["parse stringify"],
};
const GLOBALS = "Object Function Array String Boolean Number Date RegExp Math JSON Error EvalError" +
  " RangeError ReferenceError SyntaxError TypeError URIError NaN Infinity undefined eval parseInt" +
  " parseFloat isNaN isFinite decodeURI decodeURIComponent encodeURI encodeURIComponent";

// Runs inside of the context, and takes away what it stands on: plain loops alone.
function strip(ES5, GLOBALS) {
  const { ownKeys, getOwnPropertyDescriptor: own } = Reflect;
  const keep = (object, names) => {
    const kept = names.split(" ");
    const keys = ownKeys(object);
    for (let i = 0; i < keys.length; i++) {
      const given = typeof keys[i] === "symbol" ? -1 : kept.indexOf(keys[i]);
      if (given < 0 && own(object, keys[i]).configurable) delete object[keys[i]];
    }
  };
  const names = Object.keys(ES5);
  const objects = names.map((name) => globalThis[name]);
  for (let i = 0; i < names.length; i++) {
    const lists = ES5[names[i]];
    keep(objects[i], lists[0] + " prototype length name");
    if (lists[1]) keep(objects[i].prototype, lists[1] + " length");
  }
  keep(globalThis, GLOBALS);
}

// What no network server takes: NaN, the infinities, undefined.
function odd(value) {
  if (value === undefined || (typeof value === "number" && !isFinite(value))) return true;
  return value !== null && typeof value === "object" && Object.values(value).some(odd);
}

function inNode(source, inputs) {
  const context = vm.createContext();
  vm.runInContext(`(${strip})(${JSON.stringify(ES5)}, ${JSON.stringify(GLOBALS)})`, context);
  vm.runInContext(source, context);
  return inputs.map((text) => {
    const output = vm.runInContext(`decodeUplink(${text})`, context);
    return odd(output) ? "odd" : JSON.stringify(output);
  });
}

// ChirpStack evaluates the codec and, behind it, one call.
async function inQuickjs(source, inputs) {
  const variant = require("@jitl/quickjs-wasmfile-release-sync");
  const module = await newQuickJSWASMModuleFromVariant(variant.default || variant);
  const context = module.newContext();
  context.unwrapResult(context.evalCode(source)).dispose();
  return inputs.map((text) => {
    const result = context.evalCode(`JSON.stringify(decodeUplink(${text}))`);
    if (result.error) return JSON.stringify({ thrown: context.dump(result.error) });
    return context.dump(result.value);
  });
}

async function main() {
  const source = fs.readFileSync(process.argv[2], "utf8");
  const inputs = JSON.parse(fs.readFileSync(0, "utf8"));
  let syntax = null;
  try {
    acorn.parse(source, { ecmaVersion: 5, sourceType: "script" });
  } catch (error) {
    syntax = String(error);
  }
  const node = inNode(source, inputs);
  const quickjs = process.argv[3] === "node" ? [] : await inQuickjs(source, inputs);
  process.stdout.write(JSON.stringify({ syntax, node, quickjs }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
