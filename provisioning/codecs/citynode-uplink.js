// Uplink codec of citynode nodes for The Things Stack v3 and ChirpStack v4: ECMAScript 5, total.
// `data` is the newest record, with the names and units of `citynode decode --json`;
// `data.records` has all records of the frame, oldest first.
// Made from firmware/node/wire/schema.py by `python -m citynode.codecs`: do not edit.
var RECORDS={1:["climate",["temperature_c",12500,100,0,-6000],["humidity_pct",1000,10],["pressure_pa",120000,1,100000,30000],["co2_ppm",40000,1,400],["pm25_ugm3",50000,10],["pm10_ugm3",50000,10],["battery_v",3000,100,200],["pm1_ugm3",50000,10],["pm4_ugm3",50000,10],["gas_ohm",5000000,-10],["surface_c",40000,100,0,-7000],["ambient_c",12500,100,0,-6000],["temperature_min_c",12500,100,0,-6000],["temperature_max_c",12500,100,0,-6000],["pm25_max_ugm3",50000,10]],2:["weather",["rain_mm",5000,10],["wind_ms",1000,10],["gust_ms",1000,10],["wind_from_deg",360],["solar_wm2",2000],["battery_v",3000,100,200],["wind_min_ms",1000,10],["wind_sd_ms",1000,10]],3:["traffic",["interval_s",1440,-60,0,1],["bikes_1",65535],["cars_1",65535],["heavy_1",65535],["bikes_2",65535],["cars_2",65535],["heavy_2",65535],["speed_1_kmh",600,2],["speed_2_kmh",600,2],["v85_1_kmh",600,2],["v85_2_kmh",600,2],["occupancy_pct",200,2],["battery_v",3000,100,200]],4:["health",["firmware",999999,1,0,0,"version"],["reset_cause",255,1,0,0,["unknown","poweron","hard","wdt","deepsleep","soft","sw","panic","brownout","update"]],["epoch",4294967295],["restarts",4294967295],["uptime_s",4294967295],["heap_free_b",268435455,-16],["idf_heap_free_b",268435455,-16],["spool_records",4294967295],["dropped",4294967295],["sensor_faults",4294967295],["link_reconnects",4294967295],["broker_reconnects",4294967295],["rssi_dbm",50,1,0,-200],["snr_db",127,4,0,-128],["battery_v",3000,100,200],["solar_v",6000,100]],5:["event",["code",255,1,0,0,["restart","tamper","fault_on","fault_off","config_fault","clock_set","suspect_on","suspect_off"]],["detail",2147483647,1,0,-2147483648]]
};var STATUS=["clock_synced","restarted","sensor_fault","low_battery","overrun","tamper","suspect"];var NORMAL=[["air","temperature","temperature_c"],["air","relativeHumidity","humidity_pct"],["air","pressure","pressure_pa",100],["air","co2","co2_ppm"],["wind","speed","wind_ms"],["wind","direction","wind_from_deg",1,360]
];function decodeUplink(input){var data={};var warnings=[];try{var records=C(B(A(input)));records.forEach(function(record){record.faults.forEach(function(name){var text="sensor fault: "+name;if(warnings.indexOf(text)<0)warnings.push(text);});});var newest=records[records.length-1];for(var name in newest)data[name]=newest[name];data.records=records;return{data:data,warnings:warnings,errors:[]};}catch(error){var text=error&&error.frame?error.frame:"not a frame";return{data:{},warnings:[],errors:[text]};}
}
function normalizeUplink(input){var data=[];input.data.records.forEach(function(record){var measurement={};NORMAL.forEach(function(row){var value=record[row[2]];if(typeof value!=="number")return;value/=row[3]||1;measurement[row[0]]=measurement[row[0]]||{};measurement[row[0]][row[1]]=row[4]?value%row[4]:value;});if(measurement.air||measurement.wind){if(record.time)measurement.time=record.time;data.push(measurement);}
});return{data:data};}
function fail(text){throw{frame:text};}
function A(input){var bytes=[];for(var i=0;i<input.bytes.length;i++){var byte=input.bytes[i];if(typeof byte!=="number"||(byte&255)!==byte)fail("not bytes");bytes.push(byte);}
return bytes;}
function B(bytes){var pos=0;var major,info;function bad(why){fail("not the CBOR of a frame: "+why);}
function need(size){if(size>bytes.length-pos)bad("truncated");}
function number(size){var value=0;need(size);while(size--)value=value*256+bytes[pos++];return value;}
function head(){var first=number(1);major=first>>5;info=first&31;if(info<24)return info;if(info>27)bad("malformed");var n=number(1<<(info-24));if(major<7&&n<[24,256,65536,4294967296][info-24])bad("not deterministic");return n;}
function item(){var n=head();if(major<2)return major?-1-n:n;if(major<4){need(n);if(major===2)return bytes.slice(pos,(pos+=n));var text="";while(n--)text+="%"+(256+bytes[pos++]).toString(16).slice(1);decodeURIComponent(text);return "s";}
if(major<7||info<20||info===24)bad("malformed");return info>24?"f":[false,true,null,undefined][info-20];}
if(bytes.length&&(bytes[0]<129||bytes[0]>152))fail("not a record's array");var count=head();var items=[];if(count>64)bad("too many items");while(items.length<count)items.push(item());if(pos<bytes.length)bad("bytes after the end");return items;}
function G(value,low,high,what){if(typeof value!=="number"||value<low||value>high)fail(what);return value;}
function C(items){var max=4294967295;var badSeq="sequence number is not 0 … 2^32-1";var badTime="time is not -2^32 … 2^32-1";var kind=items[0];if(typeof kind!=="number")fail("not a record's array");var batch=kind<0;if(batch)kind=-1-kind;var fields=RECORDS[kind];if(!fields)fail("unknown record type: "+kind);if(items.length<(batch?7:4))fail("not a record's array");var seq=G(items[1],0,max,badSeq);var t=G(items[2],-1-max,max,badTime);var status=G(items[3],0,65535,"status is not 0 … 65535");var dt=0,n=1;var L=[],I=[];if(batch){dt=G(items[4],0,max,"interval is not 0 … 2^32-1");n=G(items[5],1,64,"number of records is not 1 … 64");G(seq+n-1,0,max,badSeq);G(t+(n-1)*dt,t<0?t:0,t<0?-1:max,badTime);L=D(fields,n,items[6]);I=L.shift();}
if(items.indexOf("f",batch?7:fields.length+3)>0)fail("no possible value: later field");var records=[];for(var i=0;i<n;i++){var raws=batch?L.map(pick):items.slice(4);records.push(E(fields,seq+i,t+i*dt,i in I?I[i]:status,raws));}
return records;function pick(column){return column[i];}
}
function D(fields,n,bytes){var pos=0;if(!bytes||typeof bytes!=="object")fail("no columns of a batch");function take(bits){if(pos+bits>8*bytes.length)fail("no columns of a batch: truncated");var value=0;for(;bits;bits--,pos++)value=2*value+((bytes[pos>>3]>>(7-(pos&7)))&1);return value;}
function H(value){return value%2?-(value+1)/2:value/2;}
function values(field,count){var zero=field[3]||0;var low=(field[4]||0)-zero;var high=field[1]-zero;var most=low<0?Math.max(2*high,-1-2*low):high;var mode,k;var width=1,step=1,value=0;var found=[];while(most>=Math.pow(2,width))width++;for(var i=0;i<count;i++){if(i===1){mode=take(3);k=mode<7?mode-1:6+take(4);if(k>13){k-=14;step=10;}
}
var K=i?0:8;if(mode)while(K<8&&take(1))K++;if(K===8){value=take(Math.ceil((width*(take(2)+1))/4));if(low<0)value=H(value);}else if(mode){value+=step*H(K*(1<<k)+take(k));}
found.push(G(value,low,high,"no possible value: "+field[0]));}
return found;}
function column(field){var code=J?0:take(2);var found=[],M=0;for(var i=0;i<n;i++){var there=code===3?take(1):!code;M+=there;found.push(there||((code===3?take(1):code-1)?undefined:null));}
var read=values(field,M);return found.map(function(there){return there?read.shift():there;});}
var known=take(5);var J=take(1);var I=take(1)?values(["status",65535],n):[];var L=[I].concat(fields.slice(1,known+1).map(column));var left=8*bytes.length-pos;if(known<fields.length&&(left>7||take(left)))fail("no columns of a batch: bits after the end");return L;}
function E(fields,seq,t,status,raws){var timed=t>=0;var data={record:fields[0],seq:seq,t:timed?t:null,time:timed?new Date(t*1000).toISOString().replace(".000",""):null,age_s:timed?null:-1-t,status:[],faults:[]
};for(var bit=0;bit<16;bit++){if((status>>bit)&1)data.status.push(STATUS[bit]||"bit_"+bit);}
for(var i=1;i<fields.length;i++){var field=fields[i];var raw=i>raws.length?null:raws[i-1];data[field[0]]=raw===null||raw===undefined?null:F(field,raw);if(raw===undefined)data.faults.push(field[0]);}
return data;}
function F(field,raw){var scale=field[2]||1;var form=field[5];var steps=typeof raw==="number"?raw+(field[3]||0):raw;G(steps,field[4]||0,field[1],"no possible value: "+field[0]);if(form==="version"){return[Math.floor(steps/10000),Math.floor(steps/100)%100,steps%100].join(".");}
if(form)return steps<form.length?form[steps]:steps;return scale<0?steps*-scale:steps/scale;}
